"""gproc: run a program on every node of a cluster.

docs/architecture.md is the tour.  The order of ideas: a request is parsed (`cli`, `nodespec`), its program
becomes a bundle (`packager`, `bundle`), the bundle and a signed ticket go down the tree (`trust`, `wire`,
`link`, `tree`, `master`, `slave`), each node keeps what it received (`store`), makes a root of it (`root`),
runs the program (`launch`) and sends its output home (`output`).
"""

__version__ = "0.1.0"
