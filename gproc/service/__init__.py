"""The front end's side of the master: the clients that are connected, and the jobs that they asked for."""
