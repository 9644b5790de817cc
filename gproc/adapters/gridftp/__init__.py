"""gproc-gridftp-master: the master program of GridFTP servers below gfork.

A front end's master takes the registrations of data nodes and hands them to the servers, whose memory it may limit.
A data node's master registers its node at the front end.  `packets`, `backends` and `memory` are rules, `frontend` and
`datanode` do the work.  docs/gfork.md, "GridFTP", is the guide.
Trust: with -G y, certificates of the cluster on both sides; with -G n, none.  A message from the network has 254 bytes,
and is checked.
"""
