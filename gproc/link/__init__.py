"""Connections: frames over TLS or a Unix socket, on asyncio.

A link sends and receives messages and does not know what they mean.  Trust: over TCP it accepts only peers with a
certificate of the cluster (`gproc.trust.tls`); it does not trust the other end of a Unix socket.
"""
