"""Frames and messages as values: bytes in, frames out, and back.  No sockets here.

Takes what came from a peer and trusts none of it: lengths are capped before anything is allocated, kinds and
messages are closed sets, and what does not fit is a `PeerError` that says what was wrong.
"""
