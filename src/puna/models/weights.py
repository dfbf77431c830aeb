"""Weights from a model file into the kernels' layouts.

A matrix of a type with a kernel keeps its bits; any other goes to the nearest layout that loses nothing. The
file is read a slice of rows at a time, by several threads, each of which packs what it has read while it is in its
cache: no second copy of the weights comes to be. Knows no architecture: models ask for tensors by GGUF's names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, ModelFile, Tensor, dequantize
from puna.kernels import KernelLibrary, Tape, Team, layouts
from puna.kernels.layouts import ROWS, Layout
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
    return {layout_of(tensor.type).name for tensor in file.tensors.values() if len(tensor.shape) > 1}


@dataclass(frozen=True, slots=True)
class Matrix:
    """A packed matrix of `rows` x `columns`; rows are padded with zeros to whole groups of 16."""

    layout: Layout
    rows: int
    columns: int
    data: NDArray[np.uint8]

    @property
    def groups(self) -> int:
        """Groups of 16 rows."""
        return padded(self.rows) // ROWS

    @property
    def blocks(self) -> int:
        """Blocks in a row."""
        return self.columns // self.layout.block


class Weights:
    """The tensors of one file; remembers which have been taken. Its threads end with the `with` block."""

    def __init__(self, file: ModelFile, library: KernelLibrary, threads: int) -> None:
        self._file, self._library, self._threads = file, library, threads
        self._arena = Arena()
        self._pool = ThreadPoolExecutor(threads, "puna-load")
        self._packers: SimpleQueue[Team] = SimpleQueue()  # one for each thread of the pool
        for _ in range(threads):
            self._packers.put(Team(library, 1))
        self._taken: set[str] = set()
        self.packed_bytes = 0  # of all matrices
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
        """A vector as float32, padded with zeros to a multiple of 16, optionally reordered."""
        tensor = self.tensor(name, (length,))
        values = dequantize(tensor.data, tensor.type, tensor.shape)
        out: NDArray[np.float32] = zeros((padded(length),))
        out[:length] = values if order is None else values[order]
        return out

    def matrix(self, name: str, rows: int, columns: int, order: NDArray[np.int32] | None = None) -> Matrix:
        """A matrix packed for its kernel, its rows optionally reordered."""
        tensor = self.tensor(name, (rows, columns))
        layout = layout_of(tensor.type)
        blocks, groups = columns // layout.block, padded(rows) // ROWS
        matrix = Matrix(layout, rows, columns, self._arena.zeros(groups * blocks * layout.record))
        rows_in_order = np.arange(rows, dtype=np.int32) if order is None else order
        for done in [self._pool.submit(self._pack, tensor, matrix, rows_in_order, *of) for of in self._slices(tensor)]:
            done.result()
        self.packed_bytes += matrix.data.nbytes
        if tensor.type not in LAYOUTS:
            held, stored = self._converted.get(tensor.type, (0, 0))
            self._converted[tensor.type] = held + matrix.data.nbytes, stored + tensor.nbytes
        return matrix

    def _slices(self, tensor: Tensor) -> list[tuple[int, int]]:
        """(first group, last group + 1): about as long as _SLICE, as many for each thread."""
        groups = padded(tensor.rows) // ROWS
        wanted = -(-tensor.nbytes // (_SLICE * self._threads)) * self._threads
        count = min(wanted, groups)
        return [(groups * i // count, groups * (i + 1) // count) for i in range(count)]

    def _pack(self, tensor: Tensor, matrix: Matrix, order: NDArray[np.int32], first: int, last: int) -> None:
        """Read and pack groups `first` to `last - 1`. Runs in a thread of the pool."""
        layout, width = matrix.layout, matrix.blocks * matrix.layout.record
        rows = order[first * ROWS : last * ROWS]
        lowest, highest = int(rows.min()), int(rows.max())
        source = convert(tensor.read(lowest, highest + 1), tensor.type)
        tape = Tape(self._library)
        tape.record(
            layout.pack,
            {
                "source": source,
                "order": rows - np.int32(lowest),
                "target": matrix.data[first * width : last * width],
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
