"""Frames on their way along the tree, with back-pressure.

Master and slaves are the same here: each passes jobs between its upstream (the client, or the parent) and its
downstreams (the children, and on a slave its own program).

Trust: a peer that `gproc.link` accepted belongs to this cluster, and nothing more.  A node runs a job only with the
master's ticket (`gproc.trust.ticket`).
"""
