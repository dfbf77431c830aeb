"""Rows of a tensor in another type, by the kernels that quantise; several threads may ask at once.

Between float types, where there is next to nothing to compute, numpy does it. Knows neither files nor mixes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from puna import kernels
from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, Tensor, dequantize, quantize
from puna.kernels import KernelLibrary, Progress, Tape, Team
from puna.kernels.quantizers import SCRATCH, TILE_BLOCKS, WIDENING, quantizer, widener
from puna.kernels.tape import Argument

SOURCES = (GGMLType.F32, GGMLType.F16, GGMLType.BF16, GGMLType.Q8_0)  # what may be rounded to fewer bits
LARGEST_HALF = 65504.0


@dataclass(frozen=True, slots=True)
class Rounding:
    """What a tensor is to become; `weights`: (matrices, columns) importance of its columns."""

    tensor: Tensor
    kind: GGMLType
    weights: NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor in the new type."""
        return self.kind.nbytes(self.tensor.shape)

    @property
    def by_kernel(self) -> bool:
        """Whether a kernel does it: not if the type stays, nor for floats."""
        return self.kind is not self.tensor.type and self.kind.block_size > 1

    @property
    def kernel(self) -> str:
        """The kernel's name. Q8_0, MXFP4 and the ternary types have no use for importance."""
        unweighted = (GGMLType.Q8_0, GGMLType.MXFP4, GGMLType.TQ1_0, GGMLType.TQ2_0)
        return quantizer(self.kind.name, weighted=self.weights is not None and self.kind not in unweighted)


class Rounder:
    """Rounds; holds the kernels that a set of tensors needs, and memory for each thread."""

    def __init__(self, wanted: Iterable[Rounding], threads: int, compiling: Progress | None) -> None:
        """Kernels that were never needed are compiled first, and `compiling` is told. Raises KernelError."""
        groups = {rounding.kernel for rounding in wanted if rounding.by_kernel}
        self._library = kernels.load(compiling, groups | {WIDENING} if groups else ())
        self._workspaces: SimpleQueue[_Workspace] = SimpleQueue()
        for _ in range(threads):
            self._workspaces.put(_Workspace(Team(self._library, 1)))

    def round(self, rounding: Rounding, first: int, last: int) -> NDArray[np.uint8]:
        """The bytes of rows `first` to `last - 1`, all of one matrix, in the new type.

        Raises InvalidGGUF for numbers that are none, UnsupportedModel for such as the type cannot hold.
        """
        raw = rounding.tensor.read(first, last)
        if rounding.kind is rounding.tensor.type:
            return raw
        if not rounding.by_kernel:
            return _as_floats(rounding, raw, last - first)
        workspace = self._workspaces.get()
        try:
            return workspace.round(self._library, rounding, raw, first, last)
        finally:
            self._workspaces.put(workspace)


@dataclass(slots=True)
class _Workspace:
    """What one thread computes with."""

    team: Team
    scratch: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(SCRATCH, np.uint8))
    largest: NDArray[np.float32] = field(default_factory=lambda: np.zeros(1, np.float32))
    numbers: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def round(
        self, library: KernelLibrary, rounding: Rounding, raw: NDArray[np.uint8], first: int, last: int
    ) -> NDArray[np.uint8]:
        """Widen to float32, look whether all can be rounded, round."""
        kind, tensor = rounding.kind, rounding.tensor
        count = (last - first) * tensor.shape[-1]
        blocks, row_blocks = count // kind.block_size, tensor.shape[-1] // kind.block_size
        if len(self.numbers) < count:
            self.numbers = np.zeros(count, np.float32)
        tape = Tape(library)
        widened: dict[str, Argument] = {"source": raw, "target": self.numbers, "vectors": count // 16}
        tape.record(widener(tensor.type.name), widened | {"largest": self.largest})
        target = np.zeros((blocks + TILE_BLOCKS) * kind.type_size, np.uint8)
        arguments: dict[str, Argument] = {"source": self.numbers, "target": target, "blocks": blocks}
        if rounding.kernel.endswith("_weighted") and rounding.weights is not None:
            columns = rounding.weights.reshape(-1, tensor.shape[-1])[first // tensor.shape[-2]]
            arguments = {"source": self.numbers, "columns": np.ascontiguousarray(columns), "target": target}
            arguments |= {"blocks": blocks, "row_blocks": row_blocks}
        tape.record(rounding.kernel, arguments | {"scratch": self.scratch})
        self.team.run(tape)
        _check(rounding, float(self.largest[0]))
        return target[: blocks * kind.type_size]


def _as_floats(rounding: Rounding, raw: NDArray[np.uint8], rows: int) -> NDArray[np.uint8]:
    tensor = rounding.tensor
    numbers = dequantize(raw, tensor.type, (rows, tensor.shape[-1]))
    _check(rounding, max(float(numbers.max()), -float(numbers.min())))
    return quantize(numbers, rounding.kind)


def _check(rounding: Rounding, largest: float) -> None:
    name, kind = rounding.tensor.name, rounding.kind
    if not np.isfinite(largest):
        raise InvalidGGUF(f"{name}: infinite numbers or NaN among the weights: the file is damaged")
    if largest > LARGEST_HALF and kind not in (GGMLType.F32, GGMLType.BF16):
        raise UnsupportedModel(f"{name} holds {largest:g}, too much for {kind.name}: choose BF16 or F32")
