"""The wire format of protocol buffers, read only: a message's fields as (number, value).

Knows no schema. Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from puna.errors import InvalidTokenizer

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_END = InvalidTokenizer("the SentencePiece model is truncated or not a protocol buffer")


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number and value: an int for varint and fixed types, bytes for strings and messages."""
    view = memoryview(message)
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if wire not in (FIXED64, BYTES, FIXED32):
            raise _END
        length, at = _varint(view, at) if wire == BYTES else (8 if wire == FIXED64 else 4, at)
        if length > len(view) - at:
            raise _END
        chunk = bytes(view[at : at + length])
        at += length
        yield number, chunk if wire == BYTES else int.from_bytes(chunk, "little")


def float32(bits: int | bytes) -> float:
    """The number in a fixed 32-bit field."""
    if not isinstance(bits, int) or bits >= 1 << 32:
        raise _END
    return float(struct.unpack("<f", bits.to_bytes(4, "little"))[0])


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise _END
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _END
