"""GFork: a super-server whose long-lived master programs are linked by pipes to the process of every connection.

    gfork -c FILE

`grammar`, `keys` and `settings` read its configuration, `frames`, `outbox` and `routing` are the rules of the links,
`server` and `children` do the work.  docs/gfork.md is the guide.
Trust: the configuration is root's, and gfork does what it says.  Masters, children and clients are not trusted:
messages on a link have bounds, and a process that breaks the protocol loses only its own link.
"""
