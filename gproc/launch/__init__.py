"""Starts programs on this node, each in namespaces of its own, and ends them without a trace.

There are three kinds of process.  The *slave* holds a `Launcher`.  The *launcher* (`launch.serving`) makes namespaces
and forks.  The slave forks it before its own event loop exists, so that the launcher stays small and single-threaded.
Each job has an *init* (`launch.init`), process 1 of the job's PID namespace: it mounts the view, becomes the caller,
starts the program and reaps.  When it ends, all of the job ends.  If no namespace can be made, a *shim*
(`launch.plain`) does the same: it finds the job's processes and kills them.

Trust: the slave, which decides who may run what, is trusted.  The program is not.
"""
