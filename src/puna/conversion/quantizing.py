"""A model with float weights becomes a GGUF file with fewer bits, tensor by tensor, by one of the mixes.

Slices of rows are read, rounded and written in order, several at once in as many threads: memory stays flat. Takes any
open model, a Hugging Face folder seen as GGUF (`importing.open_import`) included. Knows nothing of stores.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna import hardware
from puna.conversion.importance import ImportanceMatrix
from puna.conversion.mixes import Mix, in_layer_order, tensor_types
from puna.conversion.rounding import SOURCES, Rounder, Rounding
from puna.errors import Cancelled, InvalidRequest, StoreError, UnsupportedModel
from puna.gguf import GGMLType, GGUFWriter, ModelFile, ValueType
from puna.kernels import Progress as Compiling

QUANTIZATION_VERSION = 2  # ggml's GGML_QNT_VERSION
SLICE = 1 << 18  # numbers that a thread rounds at once: as float32 they fit its cache

Progress: TypeAlias = Callable[[int, int], None]  # bytes written so far, and in all

# Keys that are written anew, or have no meaning in a whole file.
_REPLACED = ("general.quantization_version", "general.file_type", "general.alignment")


def quantize_model(
    file: ModelFile,
    target: Path,
    mix: Mix,
    *,
    importance: ImportanceMatrix | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    compiling: Compiling | None = None,
    cancelled: threading.Event | None = None,
) -> None:
    """Write the model to the GGUF file `target`, which appears whole or not at all.

    importance: by it the errors of columns count (`importance.read_importance`).
    threads: by default those that a runner would take.
    progress: called from this thread.
    compiling: called while kernels are compiled that were never needed before, from any thread.

    Raises UnsupportedModel for a model that is quantised already and for numbers that the type cannot hold,
    InvalidRequest for an importance matrix of another model, InvalidGGUF, KernelError, Cancelled once the event is
    set, and StoreError when the file cannot be written.
    """
    roundings = _plan(file, mix, importance)
    threads = threads or hardware.threads()
    rounder = Rounder(roundings, threads, compiling)
    writer = GGUFWriter()
    for key, value in file.metadata.items():
        if key not in _REPLACED and not key.startswith(("split.", "quantize.imatrix.")):
            writer.add(key, value, _scalar_type(file, key))
    writer.add("general.quantization_version", QUANTIZATION_VERSION, ValueType.UINT32)
    writer.add("general.file_type", mix.file_type, ValueType.UINT32)
    if importance is not None:
        _tell_importance(writer, importance)
    with _Pipeline(rounder, roundings, threads, progress, cancelled) as pipeline:
        for rounding in roundings:
            tensor = rounding.tensor
            writer.add_tensor(tensor.name, tensor.shape, rounding.kind, partial(pipeline.pieces, rounding))
        try:
            writer.write(target)
        except OSError as error:
            raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error


def _tell_importance(writer: GGUFWriter, importance: ImportanceMatrix) -> None:
    """Where the importance matrix comes from, under llama.cpp's keys."""
    writer.add("quantize.imatrix.file", importance.source)
    if importance.datasets:
        writer.add("quantize.imatrix.dataset", importance.datasets[0])
    writer.add("quantize.imatrix.entries_count", len(importance.entries), ValueType.UINT32)
    writer.add("quantize.imatrix.chunks_count", importance.chunks, ValueType.UINT32)


def _scalar_type(file: ModelFile, key: str) -> ValueType | None:
    """The type that a scalar has in the file, where it says one; arrays know their own."""
    types: Mapping[str, ValueType] = getattr(file, "value_types", {})
    kind = types.get(key)
    return None if kind is ValueType.ARRAY else kind


def _plan(file: ModelFile, mix: Mix, importance: ImportanceMatrix | None) -> list[Rounding]:
    """What becomes of each tensor, in the order in which they are written."""
    types = tensor_types(mix, file.metadata, file.tensors.values(), weighted=importance is not None)
    weights = {} if importance is None else {name: entry.weights for name, entry in importance.entries.items()}
    plan = [Rounding(t, types[t.name], weights.get(t.name)) for t in in_layer_order(file.tensors.values())]
    for rounding in plan:
        _check_source(file, rounding)
        _check_importance(rounding, mix)
    if importance is not None and not any(rounding.weights is not None for rounding in plan):
        raise InvalidRequest("the importance matrix knows none of the model's tensors: it was made for another model")
    return plan


def _check_source(file: ModelFile, rounding: Rounding) -> None:
    tensor = rounding.tensor
    if rounding.kind is not tensor.type and tensor.type not in SOURCES:
        sources = ", ".join(kind.name for kind in SOURCES)
        raise UnsupportedModel(
            f"{file.path}: {tensor.name} is {tensor.type.name} already, and would lose twice: quantise a file whose "
            f"weights are {sources}"
        )


def _check_importance(rounding: Rounding, mix: Mix) -> None:
    tensor, weights = rounding.tensor, rounding.weights
    if weights is not None and weights.size * tensor.shape[-2] != tensor.elements:
        raise InvalidRequest(
            f"the importance matrix has {weights.size} columns for {tensor.name}, whose shape is {tensor.shape}: "
            "it was made for another model"
        )
    in_or_out = tensor.name in ("token_embd.weight", "output.weight")
    if mix.name == "Q2_K_S" and rounding.kind is GGMLType.Q2_K and weights is None and not in_or_out:
        raise InvalidRequest(
            f"Q2_K_S needs an importance matrix, and there is none for {tensor.name}: make one with `puna imatrix`"
        )


def _slices(rounding: Rounding) -> Iterator[tuple[int, int]]:
    """(first row, last row + 1), none of them in two matrices of a stack."""
    shape = rounding.tensor.shape
    rows, step = shape[-2] if len(shape) > 1 else 1, max(1, SLICE // shape[-1])
    for matrix in range(0, rounding.tensor.rows, rows):
        for first in range(matrix, matrix + rows, step):
            yield first, min(first + step, matrix + rows)


class _Pipeline:
    """Rounds slices ahead of who takes them, in order; its threads end with the `with` block."""

    def __init__(
        self,
        rounder: Rounder,
        roundings: Sequence[Rounding],
        threads: int,
        progress: Progress | None,
        cancelled: threading.Event | None,
    ) -> None:
        self._rounder, self._progress, self._cancelled = rounder, progress, cancelled
        self._pool = ThreadPoolExecutor(threads, "puna-quantize")
        self._waiting: deque[Future[NDArray[np.uint8]]] = deque()
        self._slices = ((rounding, *rows) for rounding in roundings for rows in _slices(rounding))
        self._done, self._total = 0, sum(rounding.nbytes for rounding in roundings)
        for _ in range(2 * threads):
            self._submit()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _submit(self) -> None:
        following = next(self._slices, None)
        if following is not None:
            self._waiting.append(self._pool.submit(self._rounder.round, *following))

    def pieces(self, rounding: Rounding) -> Iterator[NDArray[np.uint8]]:
        """The bytes of one tensor, slice by slice. To be asked for in the order of the roundings."""
        for _ in _slices(rounding):
            if self._cancelled is not None and self._cancelled.is_set():
                raise Cancelled("quantising was cancelled")
            piece = self._waiting.popleft().result()
            self._submit()
            self._done += piece.nbytes
            if self._progress is not None:
                self._progress(self._done, self._total)
            yield piece
