"""What a user asks for, as values: the request itself, its limits and its signals."""
