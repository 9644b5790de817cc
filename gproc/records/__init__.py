"""What the master keeps of jobs on its disk: a record of each, and the output of jobs that may have no client.

Takes jobs and their output as they come; gives back records by number or name, and output while it still grows.  Below
one directory of the master's user and nowhere else.

Trust: the directory is of mode 0700, so its content is what this user's masters wrote.  What may be torn by a crash is
checked all the same.
"""
