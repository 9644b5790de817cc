"""`gproc-rsh`: a command on one node, for programs that expect ssh: rsync, git, Ansible, launchers of MPI, scp.

`words` reads the command line as ssh(1) does (a rule), `login` has what the node's shell is told, and `main` runs it as
`gproc e` runs a program of the node itself.  docs/rsh.md is the guide.
"""
