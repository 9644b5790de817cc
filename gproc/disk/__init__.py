"""The file system as a process with more rights than its users may touch it.

`public` opens what every user of the machine may read; `trees` makes, copies and removes directory trees.  Both walk
from directory descriptor to directory descriptor.  They follow no link that a user could have made, and open no FIFO
and no device.
"""
