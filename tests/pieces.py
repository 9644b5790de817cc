"""Frames of chunks, as tests send them by hand."""

from __future__ import annotations

from gproc.wire.frames import Piece, piece_head


def piece_frame(piece: Piece) -> bytes:
    return piece_head(piece) + piece.data
