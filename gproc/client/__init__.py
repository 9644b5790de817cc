"""The client's side: the connection to the master, jobs with their output and files, and the texts about them."""
