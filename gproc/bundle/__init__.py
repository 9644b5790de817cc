"""A program and everything that it needs, as a value that can be sent.

The input is a path in a root directory, the output a manifest and the files behind it.  The order of ideas: `which`
program a name means; the `script`s, `env` and interpreters that start it (`starting`); what its `elf` file needs (LIEF
parses an `excerpt` of it); where its linker would `search`, with this system's configuration (`ldconfig`); the
`closure`; what `glibc` and a `language` load by name; `extras`.  An `image` shows the root as the program sees it,
`entries` are what goes into the manifest, `packing` puts all together, and a `cache` remembers the result.

Trust: it reads with the rights of the caller, and trusts only the caller.  An attacker may have made the files that it
reads.  They can make it fail with an error that names them, but they cannot run anything, use much memory, or bring in
files from outside the root.  It never executes what it packs, writes only its cache, and opens no connection.
"""
