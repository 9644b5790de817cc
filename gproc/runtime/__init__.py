"""A runtime: all that a slave needs on a node that has nothing but a kernel, as one compressed archive.

It holds this Python, the modules that a slave imports, compiled, its extension modules, the shared libraries of all of
these with their dynamic linker, and the static helper.  `modules` says which, `slim` takes off what no loader reads,
`archive` lays it out, `making` puts it together and keeps it.  Its SHA-256 names it: a node that has a runtime of that
name is sent nothing.

Trust: it packs files of the installation that runs, as its user; nothing is executed.
"""
