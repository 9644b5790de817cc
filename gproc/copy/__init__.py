"""Files and trees put on nodes for good (`gproc cp`), and brought back from them (`gproc get`).

`cp` is a job whose bundle has the contents of the named files and an *index* that says where each of them goes.  A node
does not execute this bundle: it *places* the files.  `get` is a job that *collects* files: its standard output is a
stream of the same steps, with the contents in between, which the client *receives*.  `steps` is the language of both.
`writer` is the only module that makes files, at home and on a node.

On a node, a copy runs as the caller, in the job's own process, without exec: `gproc.launch` forks after it has given up
the slave's rights.  It trusts no path: below the directory that the caller named, it follows no symlink.  On the
client, the files of a node can go only into this node's own directory.
"""
