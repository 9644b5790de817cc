"""`gproc start`: from ssh keys to a running tree, on nodes that have nothing but sshd, a shell and a kernel.

`plan` says where each host stands, `script` is what the node's shell is told, `ssh` carries
bytes, `node` is the conversation with one node, `fleet` that with all of them, `master` finds or starts the master, and
`register` remembers which host stands where.

Trust: the front end trusts a host whose key ssh knows; a host learns its own key and no other's.  Keys go over the
channel's standard input alone.  What a node or its ssh server says is shown by `shown`, never obeyed.
"""
