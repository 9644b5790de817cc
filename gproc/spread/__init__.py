"""A bundle on its way through the tree: which peer sends which chunks, what a node fetches, what it passes on.

Trust: a node hashes every chunk before it uses it, no matter which node sent it.
"""
