"""What interpreters need, and what the scripts of each language import or require."""
