"""Weights from a model file into the kernels' layouts.

A matrix of a type with a kernel keeps its bits; any other goes to the nearest layout that loses nothing. The
file is read a slice of rows at a time, by several threads, each of which packs what it has read while it is in its
cache: no second copy of the weights comes to be. Knows no architecture: models ask for tensors by GGUF's names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, ModelFile, Tensor, dequantize
from puna.kernels import KernelLibrary, Tape, Team, layouts
from puna.kernels.layouts import ROWS, Layout
from puna.models.adapters import Adapter, stack
from puna.models.conversion import convert
from puna.models.memory import Arena, padded, zeros

_SLICE = 1 << 20  # bytes read at once: they should still be in the cache when they are packed


# Types that are not listed have no kernel that reads their blocks: `conversion` makes them blocks of one that has.
LAYOUTS: dict[GGMLType, Layout] = {
    GGMLType.Q4_0: layouts.Q4_0,
    GGMLType.Q4_1: layouts.Q4_1,
    GGMLType.Q5_0: layouts.Q5_0,
    GGMLType.Q5_1: layouts.Q5_1,
    GGMLType.Q8_0: layouts.Q8_0,
    GGMLType.Q2_K: layouts.Q2_K,
    GGMLType.Q3_K: layouts.Q3_K,
    GGMLType.Q4_K: layouts.Q4_K,
    GGMLType.Q5_K: layouts.Q5_K,
    GGMLType.Q6_K: layouts.Q6_K,
    GGMLType.IQ4_NL: layouts.IQ4_NL,
    GGMLType.IQ4_XS: layouts.IQ4_XS,
    GGMLType.MXFP4: layouts.MXFP4,
    GGMLType.NVFP4: layouts.NVFP4,
    GGMLType.F16: layouts.F16,
    GGMLType.BF16: layouts.BF16,
    GGMLType.F32: layouts.F32,
}
# The nearest that loses nothing.
_NEAREST: dict[GGMLType, Layout] = {
    GGMLType.IQ1_S: layouts.IQ1,
    GGMLType.IQ1_M: layouts.IQ1,
    GGMLType.IQ2_XXS: layouts.IQ2,
    GGMLType.IQ2_XS: layouts.IQ2,
    GGMLType.IQ2_S: layouts.IQ2,
    GGMLType.IQ3_XXS: layouts.IQ3_XXS,
    GGMLType.IQ3_S: layouts.IQ3_S,
    GGMLType.TQ1_0: layouts.Q2_K,
    GGMLType.TQ2_0: layouts.Q2_K,
    GGMLType.Q1_0: layouts.Q4_0,
    GGMLType.Q8_1: layouts.Q8_0,
}


def layout_of(kind: GGMLType) -> Layout:
    """The layout that matrices of a type are held in."""
    return LAYOUTS.get(kind) or _NEAREST.get(kind) or layouts.F32


def kernel_groups(file: ModelFile) -> set[str]:
    """The groups of kernels that a file's matrices need."""
    matrices = [tensor for tensor in file.tensors.values() if len(tensor.shape) > 1]
    stacks = {"routing"} if any(len(tensor.shape) > 2 for tensor in matrices) else set()
    return stacks | {layout_of(tensor.type).name for tensor in matrices}


@dataclass(frozen=True, slots=True)
class Matrix:
    """A packed matrix of `rows` x `columns`, or one for each of several parts, such as experts.

    Rows are padded with zeros to whole groups of 16, those of each part.
    """

    name: str  # of its tensor
    layout: Layout
    rows: int
    columns: int
    data: NDArray[np.uint8]
    parts: int = 1
    low_rank: tuple[Matrix, Matrix] | None = None  # of adapters: what is to be multiplied first, and then

    @property
    def groups(self) -> int:
        """Groups of 16 rows of one part."""
        return padded(self.rows) // ROWS

    @property
    def blocks(self) -> int:
        """Blocks in a row."""
        return self.columns // self.layout.block


class Weights:
    """The tensors of one file; remembers which have been taken. Its threads end with the `with` block."""

    def __init__(self, file: ModelFile, library: KernelLibrary, threads: int, adapters: Sequence[Adapter] = ()) -> None:
        self._file, self._library, self._threads, self._adapters = file, library, threads, adapters
        self._arena = Arena()
        self._pool = ThreadPoolExecutor(threads, "puna-load")
        self._packers: SimpleQueue[Team] = SimpleQueue()  # one for each thread of the pool
        for _ in range(threads):
            self._packers.put(Team(library, 1))
        self._taken: set[str] = set()
        self._adapted: set[str] = set()  # those that adapters add something to
        self.packed_bytes = 0  # of all matrices
        self.read_bytes = 0  # of those that are read for a token
        self._converted: dict[GGMLType, tuple[int, int]] = {}  # bytes of those not in LAYOUTS: here, in the file
        self.on_taken: Callable[[int, int], None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __contains__(self, name: str) -> bool:
        return name in self._file.tensors

    def rows(self, name: str) -> int:
        """How many rows a tensor of the file has."""
        return self._file.tensors[name].rows

    def tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """A tensor as it stands in the file. Raises InvalidGGUF if it is absent or of another shape."""
        tensor = self._file.tensors.get(name)
        if tensor is None:
            raise InvalidGGUF(f"{self._file.path}: tensor {name!r} is missing")
        if tensor.shape != shape:
            raise InvalidGGUF(f"{self._file.path}: tensor {name!r} is {tensor.shape}, not {shape}")
        self._taken.add(name)
        if self.on_taken:
            self.on_taken(len(self._taken), len(self._file.tensors))
        return tensor

    def vector(self, name: str, length: int, order: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
        """A vector as float32, or those of its numbers that `order` names; padded with zeros to a multiple of 16."""
        tensor = self.tensor(name, (length,))
        values = dequantize(tensor.data, tensor.type, tensor.shape)
        chosen = values if order is None else values[order]
        out: NDArray[np.float32] = zeros((padded(len(chosen)),))
        out[: len(chosen)] = chosen
        return out

    def table(self, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Rows to be looked up, as float32; each padded with zeros to a multiple of 16."""
        tensor = self.tensor(name, shape)
        out: NDArray[np.float32] = zeros((shape[0], padded(shape[1])))
        out[:, : shape[1]] = dequantize(tensor.data, tensor.type, tensor.shape)
        return out

    def matrix(
        self, name: str, shape: tuple[int, ...], order: NDArray[np.int32] | None = None, *, used: int | None = None
    ) -> Matrix:
        """A matrix packed for its kernel, or those of its rows that `order` names. shape: of the tensor.

        Of three dimensions, it is a stack of matrices, one for each part; used: how many of them a token meets.
        """
        chosen = np.arange(shape[-2], dtype=np.int32) if order is None else order
        matrix = self._packed(self.tensor(name, shape), chosen, used)
        if not any(name in adapter.added for adapter in self._adapters):
            return matrix
        self._adapted.add(name)
        stacks = stack(self._adapters, name, shape, chosen)
        a, b = (
            self._packed(_in_memory(f"{name}.{part}", array), np.arange(array.shape[1], dtype=np.int32), used=1)
            for part, array in (("lora_a", stacks.a), ("lora_b", stacks.b))
        )
        return replace(matrix, low_rank=(a, b))

    def convolution(self, name: str, shape: tuple[int, int, int, int]) -> Matrix:
        """The kernels of a convolution whose stride is their size, one in each row: it is a product by patches."""
        tensor, (count, channels, height, _) = self.tensor(name, shape), shape
        lines = channels * height  # rows of the tensor in a row of the matrix
        flat = replace(
            tensor,
            shape=(count, tensor.elements // count),
            read=lambda first, last: tensor.read(first * lines, last * lines),
        )
        return self._packed(flat, np.arange(count, dtype=np.int32), used=None)

    def _packed(self, tensor: Tensor, chosen: NDArray[np.int32], used: int | None) -> Matrix:
        (rows, columns), parts = tensor.shape[-2:], tensor.shape[0] if len(tensor.shape) > 2 else 1
        layout = layout_of(tensor.type)
        size = padded(len(chosen)) // ROWS * (columns // layout.block) * layout.record  # of a part
        matrix = Matrix(tensor.name, layout, len(chosen), columns, self._arena.zeros(parts * size), parts)
        taken = tensor.nbytes * len(chosen) // rows
        packing = [
            self._pool.submit(self._pack, tensor, matrix, chosen + np.int32(part * rows), part, *groups)
            for part in range(parts)
            for groups in self._slices(matrix.groups, taken // parts)
        ]
        for done in packing:
            done.result()
        self.packed_bytes += matrix.data.nbytes
        self.read_bytes += size * (parts if used is None else used)
        if tensor.type not in LAYOUTS:
            held, stored = self._converted.get(tensor.type, (0, 0))
            self._converted[tensor.type] = held + matrix.data.nbytes, stored + taken
        return matrix

    def _slices(self, groups: int, size: int) -> list[tuple[int, int]]:
        """(first group, last group + 1) of so many bytes in all: about as long as _SLICE, as many for each thread."""
        count = min(-(-size // (_SLICE * self._threads)) * self._threads, groups)
        return [(groups * i // count, groups * (i + 1) // count) for i in range(count)]

    def _pack(self, tensor: Tensor, matrix: Matrix, order: NDArray[np.int32], part: int, first: int, last: int) -> None:
        """Read and pack groups `first` to `last - 1` of a part. Runs in a thread of the pool."""
        layout, width, start = matrix.layout, matrix.blocks * matrix.layout.record, part * matrix.groups
        rows = order[first * ROWS : last * ROWS]
        lowest, highest = int(rows.min()), int(rows.max())
        source = convert(tensor.read(lowest, highest + 1), tensor.type)
        tape = Tape(self._library)
        tape.record(
            layout.pack,
            {
                "source": source,
                "order": rows - np.int32(lowest),
                "target": matrix.data[(start + first) * width : (start + last) * width],
                "rows": len(rows),
                "groups": last - first,
                "columns" if layout.block == 1 else "blocks": matrix.blocks,
            },
        )
        packer = self._packers.get()
        packer.run(tape)
        self._packers.put(packer)

    def warnings(self) -> tuple[str, ...]:
        """For each type that no kernel reads, what holding it in another layout costs."""
        return tuple(
            f"{kind.name} weights are held as {layout_of(kind).name}, which loses nothing but takes "
            f"{held / 1e9:.2f} GB of memory where the file has {stored / 1e9:.2f} GB"
            for kind, (held, stored) in self._converted.items()
        )

    def check_all_taken(self, ignored: Sequence[str]) -> None:
        """Raise UnsupportedModel if the file holds tensors that the forward pass has not used."""
        left = [name for name in self._file.tensors if name not in self._taken and name not in ignored]
        if left:
            shown = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
            raise UnsupportedModel(f"{self._file.path}: the forward pass does not know the tensors {shown}")
        for adapter in self._adapters:
            unknown = [name for name in adapter.added if name not in self._adapted]
            if unknown:
                raise UnsupportedModel(f"{adapter.name}: what it adds to {unknown[0]} has no place in the forward pass")


def _in_memory(name: str, array: NDArray[np.float32]) -> Tensor:
    """An array as a tensor of a file would be."""
    rows = array.reshape(-1, array.shape[-1])
    return Tensor(name, array.shape, GGMLType.F32, lambda first, last: rows[first:last].reshape(-1).view(np.uint8))
