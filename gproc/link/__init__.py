"""Connections: frames over TLS or a Unix socket, on asyncio.

Takes messages and gives messages; knows nothing of what they mean.  Whom it trusts: over TCP nobody without
a certificate of the cluster (`gproc.trust.tls`), on the Unix socket nobody at all.
"""
