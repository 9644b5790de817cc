"""What the words of a command mean: programs, scripts, files and directories of the caller's."""
