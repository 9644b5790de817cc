"""What file system a job sees on its node: decided as a value, then carried out in the job's own namespace.

Takes a manifest, the directory where the store laid the bundle out, and facts about the node; gives a `View`:
an ordered tuple of mount operations, the program's path and its working directory.  `plan` is pure; `facts`
and `layers` read the node; `mounts` alone changes what is mounted, and only in a mount namespace that belongs
to one job.  It trusts the store (complete, verified, owned by the slave); it does not trust the manifest's
links, the caller's paths, nor whoever else may write to the directory above binRoot.
"""
