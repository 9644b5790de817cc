"""The file system that a job sees on its node: planned as a value, then made in the job's own namespace.

A manifest, the directory in which the store laid the bundle out, and facts about the node become a `View`: an ordered
tuple of mount operations, the program's path and its working directory.  `plan` is pure.  `facts` reads the
node's public files.  `layers` makes links in the store.  `mounts` alone changes what is mounted, and only in a mount
namespace that belongs to one job.  The package trusts the store, whose roots are complete and verified.  It trusts
neither the manifest's paths and links, nor the caller's paths, nor users who can write above binRoot.
"""
