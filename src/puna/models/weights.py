"""Weights from a model file into the kernels' layouts.

A matrix of a type with a kernel keeps its bits; any other is widened to the nearest layout that loses nothing. Knows
no architecture: models ask for tensors by GGUF's names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, ModelFile, Tensor, dequantize
from puna.kernels import KernelLibrary, Tape, Team
from puna.models.memory import padded, zeros

ROWS = 16  # rows that a layout interleaves


@dataclass(frozen=True, slots=True)
class Layout:
    """How a weight type lies in memory for its kernels."""

    matmul: str  # the kernel that multiplies
    pack: str  # the kernel that interleaves GGUF's rows
    block: int  # columns in a block
    record: int  # bytes of 16 rows x `block` columns
    quantized: bool  # whether activations must be quantised


LAYOUTS: dict[GGMLType, Layout] = {
    GGMLType.Q4_0: Layout("matmul_q4_0", "pack_q4_0", 32, 288, True),
    GGMLType.Q8_0: Layout("matmul_q8_0", "pack_q8_0", 32, 544, True),
    GGMLType.F16: Layout("matmul_f16", "pack_16bit", 1, 32, False),
    GGMLType.BF16: Layout("matmul_bf16", "pack_16bit", 1, 32, False),
    GGMLType.F32: Layout("matmul_f32", "pack_32bit", 1, 64, False),
}


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


# Types that are a float16 scale and 32 small integers: as Q8_0 they keep every value.
_AS_Q8_0 = (GGMLType.Q5_0, GGMLType.IQ4_NL)


def _laid_out(tensor: Tensor) -> tuple[Layout, NDArray[np.uint8]]:
    """The nearest layout that loses nothing, and the tensor's bytes for its packing kernel."""
    if tensor.type in LAYOUTS:
        return LAYOUTS[tensor.type], tensor.data
    if tensor.type in _AS_Q8_0:
        return LAYOUTS[GGMLType.Q8_0], _as_q8_0(tensor)
    values = dequantize(tensor.data, tensor.type, tensor.shape)
    return LAYOUTS[GGMLType.F32], values.reshape(-1).view(np.uint8)


def _as_q8_0(tensor: Tensor) -> NDArray[np.uint8]:
    """Blocks of 32 as Q8_0: the scale is the block's first float16, the products are exact in float32."""
    scales = tensor.data.reshape(-1, tensor.type.type_size)[:, :2].copy().view(np.float16)
    values = dequantize(tensor.data, tensor.type, tensor.shape).reshape(-1, 32)
    divisor = np.where(scales == 0, np.float16(1), scales).astype(np.float32)
    blocks = np.empty((len(scales), 34), np.uint8)
    blocks[:, :2], blocks[:, 2:] = scales.view(np.uint8), np.rint(values / divisor).astype(np.int8).view(np.uint8)
    return blocks.reshape(-1)


class Weights:
    """The tensors of one file; remembers which have been taken."""

    def __init__(self, file: ModelFile, library: KernelLibrary, team: Team) -> None:
        self._file, self._library, self._team = file, library, team
        self._taken: set[str] = set()
        self.packed_bytes = 0  # of all matrices
        self._widened: dict[GGMLType, int] = {}  # bytes of those whose type has no kernel
        self.on_taken: Callable[[int, int], None] | None = None

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
        layout, source = _laid_out(tensor)
        blocks, groups = columns // layout.block, padded(rows) // ROWS
        packed: NDArray[np.uint8] = zeros((groups * blocks * layout.record,), np.uint8)
        rows_in_order = np.arange(rows, dtype=np.int32) if order is None else order
        self._pack(layout, source, rows_in_order, packed, rows, groups, blocks)
        self.packed_bytes += packed.nbytes
        if layout is LAYOUTS[GGMLType.F32] is not LAYOUTS.get(tensor.type):
            self._widened[tensor.type] = self._widened.get(tensor.type, 0) + packed.nbytes
        return Matrix(layout, rows, columns, packed)

    def _pack(
        self, layout: Layout, source: NDArray[Any], order: NDArray[np.int32], target: NDArray[np.uint8],
        rows: int, groups: int, blocks: int,
    ) -> None:  # fmt: skip
        size = "columns" if layout.block == 1 else "blocks"
        tape = Tape(self._library)
        tape.record(
            layout.pack,
            {
                "source": source,
                "order": order,
                "target": target,
                "rows": rows,
                "groups": groups,
                size: blocks,
            },
        )
        self._team.run(tape)

    def warnings(self) -> tuple[str, ...]:
        """For each type that has no kernel, what holding it as float32 costs."""
        return tuple(
            f"{kind.name} weights have no kernel yet and are held as float32: {size / 1e9:.2f} GB of memory"
            for kind, size in self._widened.items()
        )

    def check_all_taken(self, ignored: Sequence[str]) -> None:
        """Raise UnsupportedModel if the file holds tensors that the forward pass has not used."""
        left = [name for name in self._file.tensors if name not in self._taken and name not in ignored]
        if left:
            shown = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
            raise UnsupportedModel(f"{self._file.path}: the forward pass does not know the tensors {shown}")
