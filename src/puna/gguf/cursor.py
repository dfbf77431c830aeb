"""A bounds-checked cursor over the bytes of a GGUF header, and the values it reads there.

Every length and count comes from the file and may lie: nothing is allocated or skipped before it is checked
against the bytes that are left. Knows nothing of tensors or of what a key means.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF
from puna.gguf.model_file import Value
from puna.gguf.types import SCALAR_CODES, ValueType

MAX_DEPTH = 8  # arrays of arrays of ...; no known file goes beyond 1
MAX_NESTED = 1 << 16  # arrays inside arrays, in the whole header

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class StringArray(Sequence[str]):
    """An array of strings that stays in the file: one string is decoded when it is asked for.

    Element i is `buffer[offsets[i] + 8 : offsets[i + 1]]` (8 bytes of length stand before each).
    Reading an element that is not UTF-8 raises InvalidGGUF.
    """

    __slots__ = ("_buffer", "_name", "_offsets")

    def __init__(self, buffer: memoryview, offsets: array[int], name: str) -> None:
        self._buffer = buffer
        self._offsets = offsets
        self._name = name

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = index + len(self) if index < 0 else index
        if not 0 <= i < len(self):
            raise IndexError(f"string {index} of {len(self)}")
        try:
            return str(self._buffer[self._offsets[i] + 8 : self._offsets[i + 1]], "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidGGUF(f"{self._name}[{i}] is not UTF-8 ({error.reason})") from None

    def __iter__(self) -> Iterator[str]:
        buffer, start = self._buffer, 0
        for i, end in enumerate(self._offsets):
            if i:
                try:
                    yield str(buffer[start:end], "utf-8")
                except UnicodeDecodeError as error:
                    raise InvalidGGUF(f"{self._name}[{i - 1}] is not UTF-8 ({error.reason})") from None
            start = end + 8

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # compares by value, like a list

    def __repr__(self) -> str:
        return f"StringArray({self._name}, {len(self)} strings)"


class Cursor:
    """Reads `data` (flat uint8) from `position` on, never past `limit`."""

    def __init__(self, data: NDArray[np.uint8], source: str, *, limit: int) -> None:
        self.position = 0
        self._data = data
        self._buffer = data[:limit].data
        self._capped = len(data) > limit
        self._source = source
        self._nested = 0

    def fail(self, reason: str) -> NoReturn:
        """Raise InvalidGGUF with the file's name before the reason."""
        raise InvalidGGUF(f"{self._source}: {reason}")

    def need(self, count: int, what: str) -> None:
        """Fail unless `count` more bytes are there."""
        left = len(self._buffer) - self.position
        if count > left:
            where = "the largest header we read" if self._capped else "the file"
            self.fail(f"{what} needs {count} bytes, but {where} has {left} left: truncated or damaged")

    def u32(self, what: str) -> int:
        """A 32-bit unsigned integer."""
        self.need(4, what)
        (value,) = _U32.unpack_from(self._buffer, self.position)
        self.position += 4
        return int(value)

    def u64(self, what: str) -> int:
        """A 64-bit unsigned integer."""
        self.need(8, what)
        (value,) = _U64.unpack_from(self._buffer, self.position)
        self.position += 8
        return int(value)

    def string(self, what: str, *, longest: int | None = None) -> str:
        """A string of at most `longest` bytes: a 64-bit length, then UTF-8."""
        length = self.u64(f"the length of {what}")
        if longest is not None and length > longest:
            self.fail(f"{what} is {length} bytes long, the most allowed is {longest}")
        self.need(length, what)
        start = self.position
        self.position += length
        try:
            return str(self._buffer[start : self.position], "utf-8")
        except UnicodeDecodeError as error:
            self.fail(f"{what} is not UTF-8 ({error.reason})")

    def value_type(self, what: str) -> ValueType:
        """The number of a value type."""
        number = self.u32(f"the type of {what}")
        try:
            return ValueType(number)
        except ValueError:
            self.fail(f"{what} has the unknown value type {number}")

    def value(self, kind: ValueType, key: str) -> Value:
        """The value of `key`: Python scalars and strings, arrays as `Value` says."""
        if kind is ValueType.STRING:
            return self.string(key)
        if kind is ValueType.ARRAY:
            return self._array(key, 0)
        scalar: Value = self._numbers(kind, 1, key)[0].item()
        return scalar

    def _array(self, key: str, depth: int) -> Value:
        kind = self.value_type(f"the items of {key}")
        count = self.u64(f"the length of {key}")
        if kind is ValueType.STRING:
            return self._strings(count, key)
        if kind is not ValueType.ARRAY:
            return self._numbers(kind, count, key)
        self.need(12 * count, key)
        self._nested += count
        if depth + 1 >= MAX_DEPTH or self._nested > MAX_NESTED:
            self.fail(f"{key} nests arrays more than {MAX_DEPTH} deep or {MAX_NESTED} times")
        return tuple(self._array(f"{key}[{i}]", depth + 1) for i in range(count))

    def _numbers(self, kind: ValueType, count: int, key: str) -> NDArray[Any]:
        """A view of the file, not always aligned."""
        dtype = np.dtype(SCALAR_CODES[kind])
        size = count * dtype.itemsize
        self.need(size, key)
        raw = self._data[self.position : self.position + size]
        if kind is ValueType.BOOL and raw.max(initial=0) > 1:
            self.fail(f"{key} is boolean and holds the byte {raw.max()}; only 0 and 1 are allowed")
        self.position += size
        return raw.view(dtype)

    def _strings(self, count: int, key: str) -> StringArray:
        self.need(8 * count, key)
        buffer, position, end, unpack = self._buffer, self.position, len(self._buffer) - 8, _U64.unpack_from
        offsets = array("q")
        append = offsets.append
        for i in range(count):  # a vocabulary has 300,000: kept tight
            if position > end:
                self.fail(f"{key}[{i}] begins beyond the end of the file: truncated or damaged")
            append(position)
            position += 8 + unpack(buffer, position)[0]
        if position > len(buffer):
            self.fail(f"{key}[{count - 1}] ends beyond the end of the file: truncated or damaged")
        append(position)
        self.position = position
        return StringArray(buffer, offsets, f"{self._source}: {key}")
