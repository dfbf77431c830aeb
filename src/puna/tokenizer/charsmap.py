"""Checks SentencePiece's precompiled character map before the `tokenizers` library follows it unchecked.

The map is a little-endian uint32 (the trie's size in bytes), a trie in darts-clone's double-array form (one
uint32 a unit), and the replacement texts, each ended by a zero byte. Knows its shape only, not what it maps.
"""

from __future__ import annotations

import numpy as np

from puna.errors import InvalidTokenizer

_IS_VALUE = np.uint32(1 << 31)
_LOW_BYTE = np.uint32(0xFF)


def check_charsmap(charsmap: bytes) -> None:
    """Raises `InvalidTokenizer` if the trie leads outside itself, or a value is not the start of a text."""
    size = int.from_bytes(charsmap[:4], "little")
    if len(charsmap) < 4 or size == 0 or size % 4 or 4 + size > len(charsmap):
        raise InvalidTokenizer(f"precompiled_charsmap: {len(charsmap)} bytes cannot hold a trie of {size}")
    texts = charsmap[4 + size :]
    try:
        texts.decode()
    except UnicodeDecodeError as error:
        raise InvalidTokenizer(f"precompiled_charsmap: the replacements are not UTF-8: {error}") from error
    units = np.frombuffer(charsmap, np.dtype("<u4"), size // 4, 4)
    values = units[(units & _IS_VALUE) != 0] & ~_IS_VALUE
    starts = np.flatnonzero((np.frombuffer(texts, np.uint8) & 0xC0) != 0x80)  # not inside a character
    if not np.isin(values, starts).all() or not texts.endswith(b"\0"):
        raise InvalidTokenizer("precompiled_charsmap: a value points outside the replacement texts")
    # A node's children lie at `node ^ offset ^ label`, for labels of one byte.
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    furthest = (np.arange(len(units), dtype=np.uint32) ^ offsets) | _LOW_BYTE
    if (furthest[(units & _IS_VALUE) == 0] >= len(units)).any():
        raise InvalidTokenizer("precompiled_charsmap: the trie points outside itself")
