"""JSON as Go's encoding/json writes it, byte for byte: models are known by the digests of such bytes.

Source: https://pkg.go.dev/encoding/json#Marshal. Fields keep the order they have here; where Go has a map, whose keys
it sorts, the caller sorts them.
"""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import numpy as np

_ESCAPED = re.compile("[<>&\u2028\u2029]")  # Go spares a browser from taking part of a text for markup or a line's end
_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs: no UTF-8 has them
_SMALLEST, _LARGEST = 1e-6, 1e21  # numbers outside have an exponent


def encode(value: object) -> bytes:
    """One line with its end, as Go's `Encoder` writes a value. np.float32 is Go's float32, float its float64.

    Raises:
        ValueError: NaN or infinity, which JSON does not have.
        TypeError: no value of JSON.
    """
    return f"{_value(value)}\n".encode()


def _value(value: object) -> str:
    match value:
        case dict():
            return "{" + ",".join(f"{_text(key)}:{_value(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_value, value)) + "]"
        case str():
            return _text(value)
        case float():
            return _float(value)
        case np.floating():
            return _float(value)
        case _:
            return json.dumps(value)


def _text(text: str) -> str:
    whole = _HALVES.sub("\N{REPLACEMENT CHARACTER}", text)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(whole, ensure_ascii=False))


def _float(value: float | np.floating[Any]) -> str:
    """The shortest digits that mean the number, as in JavaScript."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is not a number that JSON has")
    digits = Decimal(str(value)).normalize()
    if value == 0 or _SMALLEST <= abs(float(value)) < _LARGEST:
        return f"{digits:f}"
    return re.sub(r"e([+-])0", r"e\1", f"{digits:e}")
