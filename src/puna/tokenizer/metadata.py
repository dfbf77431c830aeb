"""Checked reading of the values a model file's metadata holds.

The file is not trusted: every function either returns the type it names or raises `InvalidTokenizer` with
the key. Knows nothing of what the keys mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from puna.errors import InvalidTokenizer

NO_ID = 0xFFFF_FFFF  # -1 as GGUF's uint32: "there is no such token"


def string(metadata: Mapping[str, Any], key: str) -> str | None:
    """A text value, or None if the key is absent."""
    value = metadata.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidTokenizer(f"{key} is {value!r}, not text")
    return value


def flag(metadata: Mapping[str, Any], key: str) -> bool | None:
    """A true-or-false value, or None if the key is absent."""
    value = metadata.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidTokenizer(f"{key} is {value!r}, not true or false")
    return value


def token_id(metadata: Mapping[str, Any], key: str, vocab_size: int) -> int | None:
    """A token's id below `vocab_size`, or None if the key is absent or says "none" (-1)."""
    value = metadata.get(key)
    if value is None or value in (-1, NO_ID):
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < vocab_size:
        raise InvalidTokenizer(f"{key} is {value!r}, but the vocabulary has ids 0 to {vocab_size - 1}")
    return value


def token_ids(metadata: Mapping[str, Any], key: str, vocab_size: int) -> list[int]:
    """Tokens' ids below `vocab_size`; none if the key is absent."""
    values = _items(metadata, key) or []
    if any(type(value) is not int or not 0 <= value < vocab_size for value in values):
        raise InvalidTokenizer(f"{key} holds what is no id of this vocabulary, 0 to {vocab_size - 1}")
    return list(values)


def strings(metadata: Mapping[str, Any], key: str) -> list[str] | None:
    """A list of texts, each valid Unicode, or None if the key is absent."""
    values = _items(metadata, key)
    if values is None:
        return None
    for index, value in enumerate(values):
        if type(value) is not str:
            raise InvalidTokenizer(f"{key}[{index}] is {value!r}, not text")
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        raise InvalidTokenizer(f"{key} holds text that is not valid Unicode: {error.object[error.start]!r}") from error
    return values


def numbers(metadata: Mapping[str, Any], key: str, count: int) -> list[float] | None:
    """Exactly `count` finite numbers, or None if the key is absent."""
    return _counted(metadata, key, count, (int, float), "a number")


def integers(metadata: Mapping[str, Any], key: str, count: int) -> list[int] | None:
    """Exactly `count` integers, or None if the key is absent."""
    return _counted(metadata, key, count, (int,), "an integer")


def octets(metadata: Mapping[str, Any], key: str) -> bytes:
    """An array of 8-bit integers (signed or not) as bytes; empty if the key is absent."""
    value = metadata.get(key)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    values = _items(metadata, key)
    if values is None:
        return b""
    if not all(type(v) is int and -128 <= v < 256 for v in values):
        raise InvalidTokenizer(f"{key} is not an array of bytes")
    return bytes(v & 0xFF for v in values)


def _counted(metadata: Mapping[str, Any], key: str, count: int, kinds: tuple[type, ...], name: str) -> list[Any] | None:
    values = _items(metadata, key)
    if values is None:
        return None
    if len(values) != count:
        raise InvalidTokenizer(f"{key} has {len(values)} entries for {count} tokens")
    for index, value in enumerate(values):
        if type(value) not in kinds or not isfinite(value):
            raise InvalidTokenizer(f"{key}[{index}] is {value!r}, not {name}")
    return values


def _items(metadata: Mapping[str, Any], key: str) -> list[Any] | None:
    value = metadata.get(key)
    if value is None:
        return None
    if hasattr(value, "tolist"):  # a numpy array: its items as plain Python values
        value = value.tolist()
    if isinstance(value, str | bytes) or not isinstance(value, Iterable) or isinstance(value, Mapping):
        raise InvalidTokenizer(f"{key} is {type(value).__name__}, not an array")
    return list(value)
