"""Metadata values as bytes: the counterpart of `cursor.py`.

Nothing is bent to fit: a value its type cannot hold is a ValueError that names the key.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.gguf.cursor import StringArray
from puna.gguf.types import SCALAR_CODES, ValueType

Items: TypeAlias = Sequence[Any] | NDArray[Any]

_TYPE_OF_DTYPE: dict[np.dtype[Any], ValueType] = {np.dtype(code): kind for kind, code in SCALAR_CODES.items()}
_SCALAR_ORDER = (ValueType.UINT32, ValueType.INT32, ValueType.UINT64, ValueType.INT64)
_ARRAY_ORDER = (ValueType.INT32, ValueType.UINT32, ValueType.INT64, ValueType.UINT64)
# Kinds of numpy dtype that may be stored in a type of each kind.
_ACCEPTED = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}


def encode_string(text: str) -> bytes:
    """Length (64 bits), then UTF-8."""
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def encode_value(key: str, value: object, kind: ValueType | None = None) -> bytes:
    """The number of the value's type, then the value; `kind` is that of a scalar or of an array's items."""
    if _is_array(value):
        return struct.pack("<I", ValueType.ARRAY) + _array(key, value, kind)
    kind = _kind_of(key, value) if kind is None else kind
    return struct.pack("<I", kind) + _scalar(key, value, kind)


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray | Sequence) and not isinstance(value, str)


def _array(key: str, items: Any, kind: ValueType | None) -> bytes:
    """Item type, count, items."""
    if not _is_array(items):
        raise ValueError(f"{key}: {items!r} stands among arrays")
    if isinstance(items, np.ndarray) and items.ndim != 1:
        raise ValueError(f"{key}: an array of {items.ndim} dimensions; GGUF arrays have one")
    if kind is None:
        kind = _kind_of_items(key, items)
    head = struct.pack("<IQ", kind, len(items))
    if kind is ValueType.ARRAY:
        return head + b"".join(_array(key, item, None) for item in items)
    if kind is ValueType.STRING:
        return head + b"".join(_scalar(key, item, kind) for item in items)
    return head + _numbers(key, items, kind)


def _scalar(key: str, value: object, kind: ValueType) -> bytes:
    if kind is ValueType.STRING and isinstance(value, str):
        return encode_string(value)
    if kind in (ValueType.STRING, ValueType.ARRAY) or isinstance(value, str):
        raise ValueError(f"{key}: {value!r} is not of the type {kind.name}")
    return _numbers(key, [value], kind)


def _numbers(key: str, values: Items, kind: ValueType) -> bytes:
    """Whole numbers and booleans exactly, floats rounded to the nearest."""
    if len(values) == 0:
        return b""
    dtype, given = np.dtype(SCALAR_CODES[kind]), np.asarray(values)
    if given.dtype.kind not in _ACCEPTED[dtype.kind]:
        raise ValueError(f"{key}: {_shown(values)} is not of the type {kind.name}")
    with np.errstate(over="ignore"):
        stored = given.astype(dtype)
    lost = np.isinf(stored) & ~np.isinf(given) if dtype.kind == "f" else stored != given
    if lost.any():
        raise ValueError(f"{key}: {_shown(values)} does not fit {kind.name}")
    return stored.tobytes()


def _kind_of_items(key: str, items: Items) -> ValueType:
    if isinstance(items, np.ndarray):
        return _kind_of_dtype(key, items.dtype)
    if isinstance(items, StringArray):
        return ValueType.STRING
    if all(isinstance(item, int) and not isinstance(item, bool) for item in items):
        return _first_that_holds(key, items, _ARRAY_ORDER)
    kinds = {_kind_of(key, item) for item in items}
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.name for kind in kinds))
        raise ValueError(f"{key}: items of several types ({names})")
    return kinds.pop()


def _kind_of(key: str, value: object) -> ValueType:
    if isinstance(value, str):
        return ValueType.STRING
    if isinstance(value, np.generic):
        return _kind_of_dtype(key, value.dtype)
    if isinstance(value, bool):
        return ValueType.BOOL
    if isinstance(value, int):
        return _first_that_holds(key, [value], _SCALAR_ORDER)
    if isinstance(value, float):
        return ValueType.FLOAT32
    if _is_array(value):
        return ValueType.ARRAY
    raise ValueError(f"{key}: GGUF has no type for {type(value).__name__}")


def _first_that_holds(key: str, values: Iterable[int], order: Sequence[ValueType]) -> ValueType:
    low, high = min(values, default=0), max(values, default=0)
    for kind in order:
        bounds = np.iinfo(SCALAR_CODES[kind])
        if bounds.min <= low and high <= bounds.max:
            return kind
    raise ValueError(f"{key}: {low if low < 0 else high} does not fit 64 bits")


def _kind_of_dtype(key: str, dtype: np.dtype[Any]) -> ValueType:
    kind = _TYPE_OF_DTYPE.get(dtype.newbyteorder("<"))
    if kind is None:
        raise ValueError(f"{key}: GGUF has no type for {dtype}")
    return kind


def _shown(values: Items) -> str:
    return repr(values[0]) if len(values) == 1 else f"an array of {len(values)}"
