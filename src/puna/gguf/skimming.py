"""A GGUF's header read in pieces from far away: all but the vocabulary, which is most of it.

A header is hyperparameters, vocabulary, tensors, in one stretch: nothing tells where the vocabulary's arrays of strings
end but their strings' own lengths. Their end is found without reading them: in the middle of such an array lengths and
texts can be told apart again, so that the last place where that is possible is found by bisection. Knows no network.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from puna.errors import InvalidGGUF
from puna.gguf.mapped import MappedModel
from puna.gguf.model_file import Tensor, Value
from puna.gguf.reader import MAGIC, MAX_KEY_LENGTH, MAX_KEYS, MAX_NAME_LENGTH, MAX_TENSORS, parse_header
from puna.gguf.types import SCALAR_CODES, ValueType

# Gives the bytes from one position to another of a file that is elsewhere.
ReadRange: TypeAlias = Callable[[int, int], bytes]

MOST = 7_500_000  # bytes that are read of all files of a model together
PIECE = 1 << 17  # bytes of a request
LONG = 1 << 16  # bytes of a value that is passed over
MANY = 1 << 14  # strings of an array that is passed over
WINDOW = 1 << 13  # bytes by which strings are told from other data
CLOSE = 1 << 16  # bytes that are read rather than searched
_LONGEST_STRING = 1 << 12  # of a vocabulary
_KEY = re.compile(rb"[A-Za-z0-9_.-]+\.[A-Za-z0-9_.-]+")


def skim(shards: Sequence[tuple[ReadRange, int]], source: str) -> MappedModel:
    """The metadata (without vocabulary) and tensors of a model in one file or in shards, in their order.

    Args:
        shards: for each how to read it, and its bytes.
        source: what it is called in messages.

    Raises:
        InvalidGGUF: it is none, is damaged, or has a header like no other.
    """
    budget = _Budget(MOST)
    metadata: dict[str, Value] = {}
    tensors: dict[str, Tensor] = {}
    for number, (read, size) in enumerate(shards):
        data, skipped = _Skimmer(read, size, source, budget).condensed()
        own, found = parse_header(np.frombuffer(data, np.uint8), source, size - skipped + 64)
        metadata = metadata or own
        if own.get("split.count", 1) not in (len(shards), 0) or own.get("split.no", number) != number:
            raise InvalidGGUF(f"{source}: {len(shards)} files, of which one says that it is another's part")
        if twice := tensors.keys() & found.keys():
            raise InvalidGGUF(f"{source}: tensor {min(twice)} is in two of the files")
        tensors |= found
    return MappedModel(Path(source), metadata, tensors, [])


class _Budget:
    """Bytes that may still be read."""

    def __init__(self, left: int) -> None:
        self.left = left


class _Skimmer:
    """Goes through one file's header."""

    def __init__(self, read: ReadRange, size: int, source: str, budget: _Budget) -> None:
        self._read, self._size, self._source, self._budget = read, size, source, budget
        self._start, self._data = 0, b""  # the piece that is here, and where it begins
        self.at = 0

    def condensed(self) -> tuple[bytes, int]:
        """The header without its long values, and how many bytes were left out."""
        if self.take(4) != MAGIC:
            raise InvalidGGUF(f"{self._source}: not a GGUF file: it begins with {self.piece(0, 4)!r}")
        version = self.take(4)
        tensor_count, key_count = self._u64(), self._u64()
        if tensor_count > MAX_TENSORS or key_count > MAX_KEYS:
            raise InvalidGGUF(f"{self._source}: claims {tensor_count} tensors and {key_count} keys")
        entries = [entry for _ in range(key_count) if (entry := self._entry()) is not None]
        infos = [self._tensor() for _ in range(tensor_count)]
        head = MAGIC + version + struct.pack("<QQ", tensor_count, len(entries))
        data = head + b"".join(entries) + b"".join(infos)
        return data, self.at - len(data)

    def piece(self, start: int, count: int) -> bytes:
        """So many bytes, fetched in pieces. Raises InvalidGGUF beyond the end of the file."""
        if start + count > self._size:
            raise InvalidGGUF(f"{self._source}: the header goes on beyond the end of the file: truncated or damaged")
        if not self._start <= start <= start + count <= self._start + len(self._data):
            self._fetch(start, max(count, PIECE))
        return self._data[start - self._start : start - self._start + count]

    def take(self, count: int) -> bytes:
        """The next bytes."""
        data = self.piece(self.at, count)
        self.at += count
        return data

    def _fetch(self, start: int, count: int) -> None:
        end = min(start + count, self._size)
        kept = b""
        if self._start <= start < self._start + len(self._data):  # what is here need not come again
            kept = self._data[start - self._start :]
        self._budget.left -= end - start - len(kept)
        if self._budget.left < 0:
            raise InvalidGGUF(f"{self._source}: its header is longer than the {MOST} bytes that are read of one")
        data = kept + self._read(start + len(kept), end)
        if len(data) != end - start:
            raise InvalidGGUF(f"{self._source}: {len(data)} bytes came where {end - start} were asked for")
        self._start, self._data = start, data

    def _u32(self) -> int:
        return int(struct.unpack("<I", self.take(4))[0])

    def _u64(self) -> int:
        return int(struct.unpack("<Q", self.take(8))[0])

    def _string(self, longest: int, what: str) -> bytes:
        length = self._u64()
        if length > longest:
            raise InvalidGGUF(f"{self._source}: {what} is {length} bytes long")
        return self.take(length)

    def _entry(self) -> bytes | None:
        """A key and its value as they stand; None for a long one, which was passed over."""
        start = self.at
        self._string(MAX_KEY_LENGTH, "a key")
        kind = self._u32()
        kept = self._pass_value(kind)
        return self.piece(start, self.at - start) if kept else None

    def _pass_value(self, kind: int) -> bool:
        """Go to the end of a value; whether it is one to keep."""
        if kind == ValueType.STRING:
            return self._pass_over(self._u64())
        if kind != ValueType.ARRAY:
            return self._pass_over(_width(kind, self._source))
        item, count = self._u32(), self._u64()
        if item == ValueType.ARRAY:
            raise InvalidGGUF(f"{self._source}: arrays of arrays in a header that is far away are not read")
        if item != ValueType.STRING:
            return self._pass_over(count * _width(item, self._source))
        if count <= MANY:
            for _ in range(count):
                self._string(LONG, "a string of an array")
            return True
        self.at = self._end_of_strings(count)
        return False

    def _pass_over(self, count: int) -> bool:
        if self.at + count > self._size:
            raise InvalidGGUF(f"{self._source}: a value goes on beyond the end of the file: truncated or damaged")
        self.at += count
        return count <= LONG

    def _tensor(self) -> bytes:
        start = self.at
        self._string(MAX_NAME_LENGTH, "a tensor's name")
        dimensions = self._u32()
        if dimensions > 8:
            raise InvalidGGUF(f"{self._source}: a tensor of {dimensions} dimensions")
        self.take(8 * dimensions + 4 + 8)
        return self.piece(start, self.at - start)

    def _end_of_strings(self, count: int) -> int:
        """Where an array of so many strings ends, of which the first is here."""
        low = self.at
        probe, high = low + 8 * count, None  # so many bytes are taken by the lengths alone
        while high is None or high - low > CLOSE:
            if high is not None:
                probe = (low + high) // 2
            synced = self._synced(probe) if probe + WINDOW < self._size else None
            if synced is None:
                high = probe
            else:  # by less than what the types of the tokens take, which stand between them and the merges
                low, probe = synced, synced + 2 * count
        return self._last_end(low)

    def _synced(self, start: int) -> int | None:
        """The first place in a window from which on it is strings, one after another."""
        self._budget.left -= WINDOW
        if self._budget.left < 0:
            raise InvalidGGUF(f"{self._source}: its header is longer than the {MOST} bytes that are read of one")
        window = self._read(start, start + WINDOW)
        for offset in range(WINDOW // 2):
            if _are_strings(window, offset):
                return start + offset
        return None

    def _last_end(self, low: int) -> int:
        """From a string of the array on: the first thing behind it, a key or a tensor."""
        starts = [low]
        while (length := int.from_bytes(self.piece(starts[-1], 8), "little")) <= _LONGEST_STRING:
            starts.append(starts[-1] + 8 + length)
        for start in reversed(starts[-6:]):
            if self._follows(start):
                return start
        raise InvalidGGUF(
            f"{self._source}: the end of its vocabulary was not found: damaged, or a header like no other"
        )

    def _follows(self, start: int) -> bool:
        """Whether a key with its value, or a tensor, begins here."""
        length = int.from_bytes(self.piece(start, 8), "little")
        if not 3 <= length <= 255 or not _KEY.fullmatch(self.piece(start + 8, length)):
            return False
        kind, value = (int(number) for number in struct.unpack("<IQ", self.piece(start + 8 + length, 12)))
        if kind in (1, 2, 3, 4) and 0 < value <= 1 << 32 and self._is_tensor(start + 8 + length, kind):
            return True
        if kind == ValueType.ARRAY:
            return value & 0xFFFFFFFF <= max(ValueType)
        if kind == ValueType.STRING:
            return value <= self._size - start
        return kind in set(SCALAR_CODES) and self._key_or_tensor_at(start + 12 + length + _width(kind, self._source))

    def _is_tensor(self, at: int, dimensions: int) -> bool:
        sizes = struct.unpack(f"<{dimensions}Q", self.piece(at + 4, 8 * dimensions))
        return all(0 < size <= 1 << 32 for size in sizes)

    def _key_or_tensor_at(self, at: int) -> bool:
        length = int.from_bytes(self.piece(at, 8), "little")
        return 3 <= length <= 255 and bool(_KEY.fullmatch(self.piece(at + 8, length)))


def _width(kind: int, source: str) -> int:
    code = SCALAR_CODES.get(ValueType(kind)) if kind in set(ValueType) else None
    if code is None:
        raise InvalidGGUF(f"{source}: a value of the unknown type {kind}")
    return np.dtype(code).itemsize


def _are_strings(window: bytes, offset: int) -> bool:
    """Whether lengths lead from string to string up to the end of the window, and few of them are empty."""
    count = empty = 0
    while offset + 8 <= len(window):
        length = int.from_bytes(window[offset : offset + 8], "little")
        if length > _LONGEST_STRING:
            return False
        count, empty = count + 1, empty + (length == 0)
        if count > 8 and 2 * empty >= count:  # zeros, not strings
            return False
        offset += 8 + length
    return count > 8
