"""Writes GGUF version 3: metadata of every type, tensors streamed in the order they were added.

Knows nothing of models: keys and tensor names are taken as they come.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from puna.gguf.encoding import encode_string, encode_value
from puna.gguf.model_file import Value
from puna.gguf.reader import DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS, MAX_KEY_LENGTH, MAX_NAME_LENGTH
from puna.gguf.types import GGMLType, ValueType

VERSION = 3
_WRITE_CHUNK = 1 << 24  # bytes

Pieces = Iterable[NDArray[np.generic]]  # a tensor's bytes, some rows after the other
TensorData = NDArray[np.generic] | Callable[[], NDArray[np.generic] | Pieces]


@dataclass(frozen=True, slots=True)
class _Pending:
    name: str
    shape: tuple[int, ...]
    type: GGMLType
    data: TensorData
    nbytes: int


class GGUFWriter:
    """Collects metadata and tensors, then writes them to one file or to several.

    writer = GGUFWriter("llama")
    writer.add("llama.block_count", 22)
    writer.add_tensor("token_embd.weight", (32000, 2048), GGMLType.F16, table.astype(np.float16))
    writer.write(Path("model.gguf"))
    """

    def __init__(self, architecture: str | None = None, *, alignment: int = DEFAULT_ALIGNMENT) -> None:
        """`alignment` of tensor data in bytes: a power of two, at least 8."""
        if alignment < 8 or alignment & (alignment - 1):
            raise ValueError(f"alignment {alignment} is not a power of two of at least 8")
        self.alignment = alignment
        self._metadata: dict[str, bytes] = {}
        self._tensors: dict[str, _Pending] = {}
        if architecture is not None:
            self.add("general.architecture", architecture)
        if alignment != DEFAULT_ALIGNMENT:
            self._metadata["general.alignment"] = encode_value("general.alignment", alignment, ValueType.UINT32)

    def add(self, key: str, value: Value | np.generic, type: ValueType | None = None) -> None:  # noqa: A002
        """Add one metadata value.

        `type` is that of a scalar or of an array's items. Without it: bool and str as they are; int the first
        of UINT32, INT32, UINT64, INT64 that holds it (in a list INT32, UINT32, INT64, UINT64, as llama.cpp
        expects); float FLOAT32; numpy values by dtype. Raises ValueError for what GGUF cannot hold.
        """
        if key == "general.alignment":
            raise ValueError("general.alignment is written by GGUFWriter(alignment=...)")
        if not key or len(key.encode()) > MAX_KEY_LENGTH:
            raise ValueError(f"a key has 1 to {MAX_KEY_LENGTH} bytes: {key[:80]!r}")
        if key in self._metadata:
            raise ValueError(f"the key {key!r} is already there")
        self._metadata[key] = encode_value(key, value, type)

    def add_tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        type: GGMLType,  # noqa: A002
        data: TensorData,
    ) -> None:
        """Add a tensor of `shape` (numpy order), its bytes being `data`, or what `data()` then returns: an array, or
        arrays one after the other, so that a tensor need never be in memory whole.

        Raises ValueError for what GGUF cannot hold.
        """
        if not name or len(name.encode()) > MAX_NAME_LENGTH:
            raise ValueError(f"a tensor's name has 1 to {MAX_NAME_LENGTH} bytes: {name[:80]!r}")
        if name in self._tensors:
            raise ValueError(f"the tensor {name!r} is already there")
        if not 1 <= len(shape) <= MAX_DIMS or min(shape) < 1:
            raise ValueError(f"tensor {name} has the shape {shape}; 1 to {MAX_DIMS} positive dimensions are possible")
        self._tensors[name] = _Pending(name, shape, type, data, type.nbytes(shape))

    def write(self, path: Path, *, max_shard_size: int | None = None) -> list[Path]:
        """Write the file, and return the paths written.

        With `max_shard_size` (bytes of tensor data) the tensors are spread over files named
        NAME-00001-of-0000N.gguf, if there is more than one; a tensor is never divided.
        """
        shards = self._shards(max_shard_size)
        if len(shards) == 1:
            self._write_file(path, self._metadata, shards[0])
            return [path]
        paths = []
        for number, tensors in enumerate(shards):
            shard_path = path.with_name(f"{path.stem}-{number + 1:05}-of-{len(shards):05}.gguf")
            self._write_file(shard_path, self._shard_metadata(number, len(shards)), tensors)
            paths.append(shard_path)
        return paths

    def _shards(self, max_size: int | None) -> list[list[_Pending]]:
        shards: list[list[_Pending]] = [[]]
        size = 0
        for tensor in self._tensors.values():
            padded = _padded(tensor.nbytes, self.alignment)
            if max_size is not None and shards[-1] and size + padded > max_size:
                shards.append([])
                size = 0
            shards[-1].append(tensor)
            size += padded
        return shards

    def _shard_metadata(self, number: int, count: int) -> dict[str, bytes]:
        """All of it in the first shard, then only what says which shard this is (and its alignment)."""
        always = {key: value for key, value in self._metadata.items() if key == "general.alignment"}
        split = {
            "split.no": encode_value("split.no", number, ValueType.UINT16),
            "split.count": encode_value("split.count", count, ValueType.UINT16),
            "split.tensors.count": encode_value("split.tensors.count", len(self._tensors), ValueType.INT32),
        }
        return (self._metadata if number == 0 else always) | split

    def _write_file(self, path: Path, metadata: Mapping[str, bytes], tensors: Sequence[_Pending]) -> None:
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                self._write_to(file, metadata, tensors)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _write_to(self, file: BinaryIO, metadata: Mapping[str, bytes], tensors: Sequence[_Pending]) -> None:
        file.write(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
        for key, value in metadata.items():
            file.write(encode_string(key) + value)
        offset = 0
        for tensor in tensors:
            file.write(_tensor_info(tensor, offset))
            offset += _padded(tensor.nbytes, self.alignment)
        self._pad(file, file.tell())
        for tensor in tensors:
            _write_tensor(file, tensor)
            self._pad(file, tensor.nbytes)

    def _pad(self, file: BinaryIO, written: int) -> None:
        file.write(bytes(_padded(written, self.alignment) - written))


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def _tensor_info(tensor: _Pending, offset: int) -> bytes:
    dims = tensor.shape[::-1]  # GGUF counts from the fastest dimension
    return encode_string(tensor.name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, tensor.type, offset)


def _write_tensor(file: BinaryIO, tensor: _Pending) -> None:
    data = tensor.data() if callable(tensor.data) else tensor.data
    written = 0
    for piece in [data] if isinstance(data, np.ndarray) else data:
        written += piece.nbytes
        if written <= tensor.nbytes:
            _write_array(file, piece)
    if written != tensor.nbytes:
        raise ValueError(
            f"tensor {tensor.name}: {tensor.type.name} of shape {tensor.shape} has {tensor.nbytes} bytes, "
            f"not the {written} given"
        )


def _write_array(file: BinaryIO, array: NDArray[np.generic]) -> None:
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    for start in range(0, raw.size, _WRITE_CHUNK):
        file.write(raw[start : start + _WRITE_CHUNK].data)
