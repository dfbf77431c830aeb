"""Go's strings: bytes, mostly UTF-8. Here a str in which bytes that are not UTF-8 are Python's surrogate escapes."""

from __future__ import annotations

import re

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile("[\udc80-\udcff]")


def from_bytes(data: bytes) -> str:
    """A Go string of these bytes."""
    return data.decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Its bytes."""
    return text.encode("utf-8", "surrogateescape")


def size(text: str) -> int:
    """How many bytes it has."""
    return len(text) if text.isascii() else len(to_bytes(text))


def cut(text: str, start: int, end: int) -> str:
    """Its bytes from `start` to `end`."""
    return text[start:end] if text.isascii() else from_bytes(to_bytes(text)[start:end])


def joined(text: str) -> str:
    """The string, with halves of characters that have come together made whole."""
    return from_bytes(to_bytes(text)) if _ESCAPED.search(text) else text


def given(text: str) -> str:
    """Text from outside: a lone surrogate becomes U+FFFD, as Go's JSON decoder has it."""
    return _SURROGATE.sub("\ufffd", text)


def shown(text: str) -> str:
    """For the outside: bytes that are not UTF-8 become U+FFFD, each of them."""
    return _ESCAPED.sub("\ufffd", joined(text))
