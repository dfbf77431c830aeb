"""Opens GGUF files, whole or split: little endian, versions 2 and 3.

The file is taken to be hostile: whatever it says, the outcome is a `GGUFFile` whose every tensor lies inside
the file, or `InvalidGGUF` with the reason. What the keys mean is for `config.py`; what the bytes of a tensor
mean, for `quants/`. The header is memory-mapped: the file must not shrink while its metadata are being read (the
system would end the process).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF
from puna.gguf.cursor import Cursor
from puna.gguf.mapped import MappedFile, MappedModel
from puna.gguf.model_file import Tensor, Value
from puna.gguf.types import REMOVED_TYPES, GGMLType, ValueType

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MAX_DIMS = 4
MAX_KEY_LENGTH = 65535  # gguf.md
MAX_NAME_LENGTH = 127  # gguf.md says 64; forks of ggml are built with 128 (the closing zero included)
MAX_HEADER = 1 << 27  # bytes; the largest real ones, with a tokenizer.json inside, are below 50 MB
MAX_KEYS = 1 << 16
MAX_TENSORS = 1 << 17

_SHARD_NAME = re.compile(r"(?P<prefix>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


class GGUFFile(MappedModel):
    """An open GGUF, all its shards together; `value_types` are the types its metadata have in the file."""

    def __init__(self, shards: Sequence[_Shard], tensors: Mapping[str, Tensor]) -> None:
        head = shards[0]
        super().__init__(head.path, head.metadata, tensors, [shard.file for shard in shards])
        self.value_types: Mapping[str, ValueType] = MappingProxyType(head.value_types)


def open_gguf(path: Path) -> GGUFFile:
    """Open a GGUF; of a split file any shard will do.

    Raises InvalidGGUF (what is wrong, or which shard is missing) and ModelNotFound.
    """
    first = _read_shard(path)
    count = _split_value(first, "split.count", default=1)
    if count <= 1:
        return GGUFFile([first], first.tensors)
    return _join(path, count, first)


@dataclass(frozen=True, slots=True)
class _Shard:
    path: Path
    metadata: dict[str, Value]
    value_types: dict[str, ValueType]
    tensors: dict[str, Tensor]
    file: MappedFile


def _join(path: Path, count: int, opened: _Shard) -> GGUFFile:
    """Open the other shards; metadata are the first one's, tensors those of all."""
    name = _SHARD_NAME.fullmatch(path.name)
    if name is None or int(name["count"]) != count:
        raise InvalidGGUF(
            f"{path}: one of {count} shards, so its name must end in -00001-of-{count:05}.gguf "
            "(or another number); give it back its original name"
        )
    tensors: dict[str, Tensor] = {}
    shards: list[_Shard] = []
    for number in range(count):
        shard_path = path.with_name(f"{name['prefix']}-{number + 1:05}-of-{count:05}.gguf")
        if shard_path != path and not shard_path.is_file():
            raise InvalidGGUF(f"{path}: shard {number + 1} of {count} is missing: {shard_path}")
        shard = opened if shard_path == path else _read_shard(shard_path)
        said = (_split_value(shard, "split.no"), _split_value(shard, "split.count"))
        if said != (number, count):
            raise InvalidGGUF(
                f"{shard_path}: says that it is shard {said[0] + 1} of {said[1]}, its name says otherwise"
            )
        if twice := tensors.keys() & shard.tensors.keys():
            raise InvalidGGUF(f"{shard_path}: tensor {min(twice)} is in an earlier shard too")
        tensors |= shard.tensors
        shards.append(shard)
    expected = _split_value(shards[0], "split.tensors.count", default=len(tensors))
    if expected != len(tensors):
        raise InvalidGGUF(f"{path}: split.tensors.count is {expected}, the shards hold {len(tensors)} tensors")
    return GGUFFile(shards, tensors)


def _split_value(shard: _Shard, key: str, default: int | None = None) -> int:
    value = shard.metadata.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 20:
        what = "missing" if value is None else f"{value!r:.60}, not a number of shards or tensors"
        raise InvalidGGUF(f"{shard.path}: {key} is {what}")
    return value


def _read_shard(path: Path) -> _Shard:
    file = MappedFile(path)
    if file.map[:4] != MAGIC:
        raise InvalidGGUF(f"{path}: not a GGUF file: it begins with {file.map[:4]!r}, not with {MAGIC!r}")
    data = np.frombuffer(file.map, np.uint8)
    metadata, value_types, tensors = _parse(data, str(path), file.size, partial(_read_rows, file))
    return _Shard(path, metadata, value_types, tensors, file)


def parse_header(data: NDArray[np.uint8], source: str, size: int) -> tuple[dict[str, Value], dict[str, Tensor]]:
    """Metadata and tensors of a header that is in memory, of a file of so many bytes that is elsewhere.

    Raises InvalidGGUF, as `open_gguf`; and where a tensor is read.
    """

    def absent(_start: int, _row: int, _first: int, _last: int) -> NDArray[np.uint8]:
        raise InvalidGGUF(f"{source}: only its header is here")

    metadata, _, tensors = _parse(data, source, size, absent)
    return metadata, tensors


def _parse(
    data: NDArray[np.uint8], source: str, size: int, rows: Callable[[int, int, int, int], NDArray[np.uint8]]
) -> tuple[dict[str, Value], dict[str, ValueType], dict[str, Tensor]]:
    cursor = Cursor(data, source, limit=MAX_HEADER)
    tensor_count, key_count = _read_counts(cursor)
    metadata: dict[str, Value] = {}
    value_types: dict[str, ValueType] = {}
    for i in range(key_count):
        key = cursor.string(f"key {i}", longest=MAX_KEY_LENGTH)
        if not key:
            cursor.fail(f"key {i} is empty")
        if key in metadata:
            cursor.fail(f"the key {key!r} is there twice")
        value_types[key] = cursor.value_type(key)
        metadata[key] = cursor.value(value_types[key], key)
    return metadata, value_types, _read_tensors(cursor, size, tensor_count, _alignment(cursor, metadata), rows)


def _read_counts(cursor: Cursor) -> tuple[int, int]:
    """The fixed part of the header: number of tensors, number of keys."""
    cursor.u32("the magic")  # already looked at
    version = cursor.u32("the version")
    if version & 0xFFFF == 0 and version:
        cursor.fail("the file is big-endian (made for s390x, say); only little-endian GGUF is read: convert it again")
    if version not in (2, 3):
        hint = "convert the model again with a current tool" if version < 2 else "a newer Puna may read it"
        cursor.fail(f"GGUF version {version}, but 2 and 3 are the ones we read: {hint}")
    tensor_count, key_count = cursor.u64("the number of tensors"), cursor.u64("the number of keys")
    if tensor_count > MAX_TENSORS:
        cursor.fail(f"claims {tensor_count} tensors, the most we read is {MAX_TENSORS}")
    if key_count > MAX_KEYS:
        cursor.fail(f"claims {key_count} metadata keys, the most we read is {MAX_KEYS}")
    return tensor_count, key_count


def _alignment(cursor: Cursor, metadata: Mapping[str, Value]) -> int:
    """`general.alignment`, a power of two of at least 8 (gguf.md: a multiple of 8)."""
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if isinstance(value, bool) or not isinstance(value, int) or value < 8 or value & (value - 1):
        cursor.fail(f"general.alignment is {value!r}, not a power of two of at least 8")
    return value


@dataclass(frozen=True, slots=True)
class _Placed:
    """A tensor as its header entry describes it; `offset` counts from the start of the tensor data."""

    name: str
    shape: tuple[int, ...]
    type: GGMLType
    offset: int
    nbytes: int


def _read_tensors(
    cursor: Cursor, size: int, count: int, alignment: int, rows: Callable[[int, int, int, int], NDArray[np.uint8]]
) -> dict[str, Tensor]:
    """size: bytes of the file, inside which all must lie; rows: reads them, as `_read_rows` does."""
    placed = [_read_tensor_info(cursor, i, alignment) for i in range(count)]
    base = -(-cursor.position // alignment) * alignment
    end_before, before = 0, ""
    for tensor in sorted(placed, key=lambda tensor: tensor.offset):
        if tensor.offset < end_before:
            cursor.fail(f"the data of tensor {tensor.name} overlap those of {before}")
        end_before, before = tensor.offset + tensor.nbytes, tensor.name
        if base + end_before > size:
            cursor.fail(
                f"tensor {tensor.name} ends at byte {base + end_before}, but the file has {size}: "
                "truncated (download it again) or damaged"
            )
    tensors: dict[str, Tensor] = {}
    for tensor in placed:
        if tensor.name in tensors:
            cursor.fail(f"the tensor {tensor.name} is there twice")
        row = tensor.type.nbytes(tensor.shape[-1:])
        tensors[tensor.name] = Tensor(tensor.name, tensor.shape, tensor.type, partial(rows, base + tensor.offset, row))
    return tensors


def _read_rows(file: MappedFile, start: int, row: int, first: int, last: int) -> NDArray[np.uint8]:
    """Rows of `row` bytes, the first of which is at `start`."""
    return file.read(start + first * row, (last - first) * row)


def _read_tensor_info(cursor: Cursor, index: int, alignment: int) -> _Placed:
    name = cursor.string(f"the name of tensor {index}", longest=MAX_NAME_LENGTH)
    dims_count = cursor.u32(f"the number of dimensions of tensor {name}")
    if not 1 <= dims_count <= MAX_DIMS:
        cursor.fail(f"tensor {name} has {dims_count} dimensions, not 1 to {MAX_DIMS}")
    shape = tuple(reversed([cursor.u64(f"the shape of tensor {name}") for _ in range(dims_count)]))
    if 0 in shape:
        cursor.fail(f"tensor {name} has a dimension of 0: shape {shape}")
    kind = _tensor_type(cursor, name)
    offset = cursor.u64(f"the offset of tensor {name}")
    if offset % alignment:
        cursor.fail(f"tensor {name} begins at {offset}, not a multiple of the alignment, {alignment}")
    try:
        return _Placed(name, shape, kind, offset, kind.nbytes(shape))
    except ValueError as error:
        cursor.fail(f"tensor {name}: {error}")


def _tensor_type(cursor: Cursor, name: str) -> GGMLType:
    number = cursor.u32(f"the type of tensor {name}")
    if number in REMOVED_TYPES:
        cursor.fail(f"tensor {name} is {REMOVED_TYPES[number]}, which ggml has withdrawn: get a newer file")
    try:
        return GGMLType(number)
    except ValueError:
        cursor.fail(f"tensor {name} has the unknown type {number}: damaged, or newer than this Puna")
