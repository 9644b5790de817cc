"""The near side of the master: one job, its output, its files, and what is said about them."""
