"""JSON as Go's encoding/json writes it: no spaces, keys of maps sorted, what HTML minds escaped.

Source: the documentation of encoding/json (Marshal).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from puna.chat.gotemplate import text
from puna.chat.gotemplate.numbers import json_number
from puna.chat.gotemplate.values import Composite, Map, Slice, Struct

_ESCAPED = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029\ud800-\udfff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def encode(value: object) -> str:
    """The value's JSON; "" for what has none (Go's `json` of an infinite number)."""
    try:
        return "".join(_pieces(value))
    except ValueError:
        return ""


def quoted(value: str) -> str:
    """A string in JSON."""
    return f'"{_ESCAPED.sub(_escape, text.joined(value))}"'


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    return _SHORT.get(char) or ("\ufffd" if "\ud800" <= char <= "\udfff" else f"\\u{ord(char):04x}")


def _pieces(value: object) -> Iterable[str]:
    if isinstance(value, (Slice, Map, Struct)):
        return _composite(value)
    if isinstance(value, str):
        return (quoted(value),)
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, (int, float)):
        return (json_number(value),)
    if isinstance(value, complex):
        raise ValueError("JSON has no complex numbers")
    return ("null",)


def _composite(value: Composite) -> Iterable[str]:
    if value.type.encoded is not None:
        return _pieces(value.type.encoded(value))
    if isinstance(value, Struct):
        return _object(
            (attribute.key, item)
            for attribute, item in zip(value.type.attributes, value.values, strict=True)
            if not attribute.omitted(item)
        )
    if value.items is None:
        return ("null",)
    if isinstance(value, Map):
        return _object(value.entries())
    if isinstance(value.items, bytes):
        return (f'"{base64.b64encode(value.items).decode()}"',)
    return _array(value.items)


def _array(items: Iterable[object]) -> Iterable[str]:
    yield "["
    for count, item in enumerate(items):
        if count:
            yield ","
        yield from _pieces(item)
    yield "]"


def _object(items: Iterable[tuple[str, object]]) -> Iterable[str]:
    yield "{"
    for count, (key, item) in enumerate(items):
        yield f"{',' if count else ''}{quoted(key)}:"
        yield from _pieces(item)
    yield "}"
