"""Reads the index of a safetensors file: names, types, shapes and where the bytes are.

The format (huggingface.co/docs/safetensors): a 64-bit length, that many bytes of JSON, the tensors' data.
Knows nothing of models. As hostile as a GGUF: everything is checked against the file's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf.huggingface.json_file import parse_object
from puna.gguf.mapped import MappedFile
from puna.gguf.types import GGMLType

MAX_HEADER = 1 << 24  # bytes of JSON; a shard of the largest models has below 1 MB
MAX_DIMS = 8
MAX_NAME = 512

_TYPES = {"F32": GGMLType.F32, "F16": GGMLType.F16, "BF16": GGMLType.BF16}
_OTHER_TYPES = frozenset((
    "F64", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL",
    "C64", "F4", "F6_E2M3", "F6_E3M2", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor as it lies in the file."""

    name: str
    shape: tuple[int, ...]
    type: GGMLType
    start: int  # the byte of the file at which it begins
    file: MappedFile

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.type.nbytes(self.shape[-1:])

    def read(self, first: int, last: int) -> NDArray[np.uint8]:
        """The raw bytes of rows `first` to `last - 1`."""
        return self.file.read(self.start + first * self.row_bytes, (last - first) * self.row_bytes)


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """An open file; `ignored` are tensors of types that hold no weights we can read, by type."""

    path: Path
    tensors: dict[str, StoredTensor]
    ignored: dict[str, str]
    file: MappedFile

    def require(self, name: str) -> StoredTensor:
        """The tensor, or UnsupportedModel for its type, or InvalidGGUF."""
        if name in self.ignored:
            raise UnsupportedModel(
                f"{self.path}: {name} is stored as {self.ignored[name]}; F32, F16 and BF16 can be read. "
                "Get the model as GGUF, or unquantised"
            )
        if name not in self.tensors:
            raise InvalidGGUF(f"{self.path}: the tensor {name} is missing")
        return self.tensors[name]


def open_safetensors(path: Path) -> SafetensorsFile:
    """Map a file and read its index; raises InvalidGGUF or ModelNotFound."""
    file = MappedFile(path)
    index, body = _read_index(file)
    tensors: dict[str, StoredTensor] = {}
    ignored: dict[str, str] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in index.items():
        kind, shape, start, end = _check_entry(path, name, entry, file.size - body)
        spans.append((start, end, name))
        if kind in _OTHER_TYPES:
            ignored[name] = kind
            continue
        stored = _TYPES[kind]
        if end - start != stored.type_size * prod(shape):
            raise InvalidGGUF(f"{path}: {name}: {end - start} bytes do not make {kind} numbers of shape {shape}")
        tensors[name] = StoredTensor(name, shape, stored, body + start, file)
    _check_overlap(path, spans)
    return SafetensorsFile(path, tensors, ignored, file)


def _read_index(file: MappedFile) -> tuple[dict[str, Any], int]:
    """The index, without the file's metadata, and where the bytes begin that it indexes."""
    path = file.path
    length = int.from_bytes(file.map[:8], "little")
    if file.size < 8 or length > file.size - 8:
        raise InvalidGGUF(f"{path}: truncated or no safetensors file: an index of {length} bytes")
    if length > MAX_HEADER:
        raise InvalidGGUF(f"{path}: an index of {length} bytes, the most we read is {MAX_HEADER}")
    index = parse_object(file.map[8 : 8 + length], str(path))
    index.pop("__metadata__", None)
    return index, 8 + length


def _check_entry(path: Path, name: str, entry: Any, size: int) -> tuple[str, tuple[int, ...], int, int]:
    """Type, shape, start and end of one tensor, inside the data."""
    if len(name) > MAX_NAME:
        raise InvalidGGUF(f"{path}: a tensor's name of {len(name)} characters, the most we read is {MAX_NAME}")
    if not isinstance(entry, dict) or {"dtype", "shape", "data_offsets"} - entry.keys():
        raise InvalidGGUF(f"{path}: {name}: no dtype, shape or data_offsets")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or (kind not in _TYPES and kind not in _OTHER_TYPES):
        raise InvalidGGUF(f"{path}: {name}: unknown dtype {kind!r:.40}")
    if not _whole_numbers(shape) or len(shape) > MAX_DIMS or not _whole_numbers(offsets) or len(offsets) != 2:
        raise InvalidGGUF(f"{path}: {name}: shape or data_offsets are not lists of a few whole numbers")
    start, end = offsets
    if not start <= end <= size:
        raise InvalidGGUF(f"{path}: {name}: bytes {start} to {end} of {size}: truncated (download it again) or damaged")
    return kind, tuple(shape), start, end


def _whole_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_overlap(path: Path, spans: list[tuple[int, int, str]]) -> None:
    reached, before = 0, ""
    for start, end, name in sorted(spans):
        if start < reached:
            raise InvalidGGUF(f"{path}: the data of {name} overlap those of {before}")
        reached, before = end, name
