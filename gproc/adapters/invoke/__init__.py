"""`ng_invoke_server.GPROC`: starts the executables of Ninf-G clients as jobs of gproc.

`protocol` (lines to requests, replies to lines), `attributes` (a job as the client asks for it), `placement` (which
nodes) and `states` are rules.  `server` answers a client over its `pipes`; a `job` runs `processes` or, by `mpi`, an
mpirun.  That one is started by `tied` and reaches the nodes by the console script `gproc-rsh` (`adapters.rsh`).

Trust: the client started this process as its own child, with its own rights; so it may have whatever that user may have
of the cluster.  Still each line has bounds, and nothing that a client sends ends the server but EXIT and the end of its
pipes.  docs/invoke-server.md is the guide.
"""
