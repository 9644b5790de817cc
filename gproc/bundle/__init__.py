"""A program and all it needs, as a value that can be sent.

Takes a path in a root directory; gives a manifest (`manifest`) and the files behind it.  The order of ideas:
`which` a name is, what `script`s and interpreters stand before it, what its `elf` file needs (LIEF parses an `excerpt`
of it), how its linker would `search` for that (`ldconfig`: this system's part in it), the `closure`, what `glibc` and a
`language` load by name, `extras`; laid out in an `image` of the root (`layout`), put together in `packing`, remembered
in a `cache`.

It trusts the caller alone, with whose rights it reads.  The files it reads may be made by an enemy: they can make
it fail, with an error that names them, but not run anything, use much memory, or take in what lies outside the root.
It never executes what it packs, writes nothing but its cache, and opens no connection.
"""
