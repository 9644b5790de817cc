"""What an administrator allows, and the record of what was done.

Master and slaves that are root read /etc/gproc/policy.toml, each for itself.  Takes the file's text, a caller and a
request; gives the request as it may run, or the reason why it may not.

Trust: the file counts only if root alone can write it.  If it is there and cannot be used, no job runs: a mistake in it
must not open a cluster.
"""
