"""A machine's content-addressed cache of bundles: one for each user, shared by all nodes that the user runs on it.

It takes chunks that came over the network and verifies each before it counts.  It gives complete, verified roots that a
job can be shown, and chunks for the children of this node.  It trusts neither the sender of a chunk nor its own disk:
after a start every file is hashed again before its first use, and its stat is compared at every use.  It never executes
what a root holds, and never opens it for writing.
"""
