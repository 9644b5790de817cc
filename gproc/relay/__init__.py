"""Frames moving along the tree, with back-pressure.

Master and slaves are the same here: each has something above (the client, or a parent), something below
(children, and on a slave its own program) and passes jobs between them.  It trusts what `gproc.link` let in to be
of this cluster, and nothing more: a job is run only with the master's ticket (`gproc.trust.ticket`).
"""
