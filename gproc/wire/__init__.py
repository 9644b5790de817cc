"""Frames and messages as values: bytes in, frames out, and back.  No sockets.

Nothing from a peer is trusted: lengths are checked before memory is allocated, kinds and messages are closed sets, and
anything else raises a `PeerError` that says what was wrong.
"""
