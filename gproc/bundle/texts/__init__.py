"""What texts and programs of the caller's mention, as far as it may go along: all of it is guesses with bounds."""
