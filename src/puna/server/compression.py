"""Request bodies that come compressed (`Content-Encoding`): gzip, deflate and zstd, as some of OpenAI's clients send.

Bounded: what a few bytes unpack to may be gigabytes. Knows nothing of what is in a body.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from puna.errors import InvalidRequest
from puna.server.errors import BodyTooLargeError, UnsupportedEncodingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP, _ZLIB = 31, 15  # zlib's `wbits`


class _Decompressor(Protocol):
    """zlib's and zstd's."""

    @property
    def eof(self) -> bool:
        """Whether the end of a frame was reached."""

    @property
    def unused_data(self) -> bytes:
        """What comes after that."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """At most so many bytes."""


_MAKE: Mapping[str, Callable[[], _Decompressor]] = {
    "gzip": partial(zlib.decompressobj, _GZIP),
    "deflate": partial(zlib.decompressobj, _ZLIB),
    "zstd": zstd.ZstdDecompressor,
}


def decompressed(raw: bytes, encodings: str, limit: int) -> bytes:
    """The body of which `raw` was made by the encodings of the header, one after another.

    Raises:
        UnsupportedEncodingError: one of them is not known here.
        BodyTooLargeError: it has more than `limit` bytes.
        InvalidRequest: it is damaged.
    """
    names = [name.strip().lower() for name in encodings.split(",")]
    for name in reversed([name for name in names if name not in ("", "identity")]):
        if name not in _MAKE:
            raise UnsupportedEncodingError(
                f"Content-Encoding {name!r} is not supported: send {', '.join(_MAKE)} or none"
            )
        raw = _unpacked(raw, name, limit)
    return raw


def _unpacked(raw: bytes, name: str, limit: int) -> bytes:
    """All frames of `raw`."""
    whole = bytearray()
    while raw:
        decompressor = _MAKE[name]()
        try:
            whole += decompressor.decompress(raw, limit + 1 - len(whole))
        except (zlib.error, zstd.ZstdError) as error:
            raise InvalidRequest(f"the request body is not valid {name}: {error}") from None
        if len(whole) > limit:
            raise BodyTooLargeError(f"the request body is larger than {limit >> 20} MiB")
        if not decompressor.eof:
            raise InvalidRequest(f"the request body ends in the middle of its {name} data")
        raw = decompressor.unused_data
    return bytes(whole)
