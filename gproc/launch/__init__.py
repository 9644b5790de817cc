"""Starts programs on this node, each in namespaces of its own, and ends them without a trace.

The slave writes a *plan* for each job (`operations`) and starts the static helper with it (`native`, `helper`): the
helper is the job's *init*, process 1 of its PID namespace.  It mounts the view, becomes the caller, starts the program
and reaps.  When it ends, all of the job ends.  Without namespaces it is a *shim*, which finds the job's processes and
kills them.

A node without the helper does the same in Python: a small *launcher* process (`forked`, `serving`), which the slave
forks before its event loop exists, forks each job's init (`init`, `program`) or shim (`plain`).  The slave's own tasks
(`gproc cp`) always run so: `own_tasks`.

Trust: the slave, which decides who may run what, is trusted.  The program is not.
"""
