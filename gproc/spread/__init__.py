"""A bundle on its way: which peer sends what to whom, what is fetched, what is passed on.

Trust: a chunk counts only after its receiver has hashed it, whoever sent it.
"""
