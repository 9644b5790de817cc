"""What people write for NODES beside places: the word @failed."""
