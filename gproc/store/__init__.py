"""A node's content-addressed cache of bundles.

Takes chunks that the network brought and verifies each before it counts; gives complete, verified roots that a
job can be shown, and chunks for the children of this node.  Trusts nobody: not the sender of a chunk, not its
own disk (every file is hashed again before its first use after a start, and its stat is compared at every one).
It never executes or opens for writing what a root already holds.
"""
