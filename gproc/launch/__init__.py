"""Programs started on this node, each in namespaces of its own, and ended without a trace.

Three kinds of process.  The *slave* holds a `Launcher`.  The *launcher* (`launch.serving`), forked before the
slave's event loop so that it stays small and single-threaded, makes namespaces and forks.  Each job has an
*init* (`launch.init`), process 1 of the job's PID namespace: it mounts the view, drops to the caller, spawns
the program, reaps, and takes everything with it when it ends.  Where no namespace may be made, a *shim*
(`launch.plain`) does the same by hunting descendants.

It trusts the slave: who may run what was decided there.  It does not trust the program.
"""
