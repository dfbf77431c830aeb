"""An importance matrix: how large the numbers are that each column of a model's matrices is multiplied with.

The mean squares of activations over a text; quantising, errors in columns that meet large numbers count for more. Files
are GGUF, as llama.cpp's imatrix tool writes them. Knows nothing of how a quantiser uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna import hardware, models, tokenizer
from puna.errors import Cancelled, InvalidGGUF, InvalidLogits, InvalidRequest, StoreError
from puna.gguf import GGMLType, GGUFWriter, ModelFile, Tensor, ValueType, dequantize
from puna.gguf.reader import GGUFFile, open_gguf
from puna.kernels import Progress as Compiling
from puna.models import Chunk, Model, blocks_for

CHUNK = 512  # tokens of a text that are seen together, as in llama.cpp
FEWEST = 32  # tokens of a text; fewer say nothing

Progress: TypeAlias = Callable[[int, int], None]  # chunks done, and in all

_SUMS, _COUNTS = ".in_sum2", ".counts"


@dataclass(frozen=True, slots=True)
class Entry:
    """Of one tensor: `sums` (matrices, columns) of squares over `counts` (matrices) rows."""

    sums: NDArray[np.float32]
    counts: NDArray[np.float32]

    @property
    def weights(self) -> NDArray[np.float32]:
        """The mean squares, float32 (matrices, columns); 1 where a matrix (an expert) was never used."""
        counts = self.counts[:, None]
        ones = np.ones_like(self.sums)
        return np.divide(self.sums, counts, out=ones, where=counts > 0)


@dataclass(frozen=True, slots=True)
class ImportanceMatrix:
    """What is known of a model's matrices, and where it comes from."""

    entries: Mapping[str, Entry]  # by tensor
    datasets: tuple[str, ...]  # names of the texts
    chunks: int
    chunk_size: int  # tokens
    source: str = field(default="")  # the file's name

    def save(self, path: Path) -> None:
        """Write it as llama.cpp does. Raises StoreError when the file cannot be written."""
        writer = GGUFWriter()
        writer.add("general.type", "imatrix")
        writer.add("imatrix.datasets", list(self.datasets), ValueType.STRING)
        writer.add("imatrix.chunk_count", self.chunks, ValueType.UINT32)
        writer.add("imatrix.chunk_size", self.chunk_size, ValueType.UINT32)
        for name in sorted(self.entries):
            entry = self.entries[name]
            writer.add_tensor(name + _SUMS, entry.sums.shape, GGMLType.F32, entry.sums)
            writer.add_tensor(name + _COUNTS, (len(entry.counts), 1), GGMLType.F32, entry.counts)
        try:
            writer.write(path)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_importance(path: Path) -> ImportanceMatrix:
    """Read a file of llama.cpp's imatrix tool or of `save`. Raises InvalidGGUF and ModelNotFound."""
    with open_gguf(path) as file:
        if file.metadata.get("general.type") != "imatrix":
            raise InvalidGGUF(
                f"{path}: no importance matrix: general.type is {file.metadata.get('general.type')!r:.40}"
            )
        names = [name.removesuffix(_SUMS) for name in file.tensors if name.endswith(_SUMS)]
        entries = {name: _read_entry(file, name) for name in names}
        if not entries:
            raise InvalidGGUF(f"{path}: an importance matrix without entries")
        datasets = file.metadata.get("imatrix.datasets", ())
        return ImportanceMatrix(
            entries=entries,
            datasets=tuple(map(str, datasets)) if not isinstance(datasets, int | float | str) else (),
            chunks=_whole(file, "imatrix.chunk_count"),
            chunk_size=_whole(file, "imatrix.chunk_size"),
            source=path.name,
        )


def _whole(file: GGUFFile, key: str) -> int:
    value = file.metadata.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidGGUF(f"{file.path}: {key} is {value!r:.40}, not a number of chunks or tokens")
    return value


def _read_entry(file: GGUFFile, name: str) -> Entry:
    sums, counts = file.tensors[name + _SUMS], file.tensors.get(name + _COUNTS)
    if counts is None or counts.elements != sums.rows:
        raise InvalidGGUF(f"{file.path}: {name} has sums of {sums.rows} matrices and no such number of counts")
    entry = Entry(_floats(sums).reshape(sums.rows, -1), _floats(counts).reshape(-1))
    for numbers in (entry.sums, entry.counts):
        if not np.isfinite(numbers).all() or numbers.min() < 0:
            raise InvalidGGUF(f"{file.path}: {name}: sums of squares and counts are finite and not negative")
    return entry


def _floats(tensor: Tensor) -> NDArray[np.float32]:
    return dequantize(tensor.data, tensor.type, tensor.shape)


def measure_importance(
    file: ModelFile,
    text: str,
    *,
    dataset: str = "",
    chunks: int | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    compiling: Compiling | None = None,
    cancelled: threading.Event | None = None,
) -> ImportanceMatrix:
    """Run the model over a text, 512 tokens at a time (the rest left out), and add up what its matrices meet.

    dataset: the text's name. chunks: how many at most; None for all. progress: called from this thread.

    Raises InvalidRequest for a text of fewer than 32 tokens, Cancelled once the event is set, InvalidLogits for a model
    that gives NaN or infinity, and what loading a model raises.
    """
    pieces, size = _pieces(file, text)
    squares: dict[str, NDArray[np.float32]] = {}
    model = models.load(
        file, threads=threads or hardware.threads(), num_blocks=blocks_for(size), squares=squares, progress=compiling
    )
    try:
        pieces = pieces[:chunks]
        sums = {name: np.zeros(len(row), np.float64) for name, row in squares.items() if name.startswith("blk.")}
        for done, piece in enumerate(pieces):
            if cancelled is not None and cancelled.is_set():
                raise Cancelled("measuring the importance matrix was cancelled")
            _run(model, piece)
            for name in sums:
                sums[name] += squares[name]
                squares[name][:] = 0
            if progress is not None:
                progress(done + 1, len(pieces))
    finally:
        model.close()
    count = np.array([size * len(pieces)], np.float32)
    entries = {name: Entry(_row(file.tensors[name], total), count) for name, total in sums.items()}
    return ImportanceMatrix(entries, (dataset,) if dataset else (), len(pieces), size)


def _pieces(file: ModelFile, text: str) -> tuple[list[list[int]], int]:
    """Chunks of tokens, all of one size; each begins with BOS, in place of its first token, if the model wants it."""
    known = tokenizer.load(file)
    tokens = known.encode(text)
    if len(tokens) < FEWEST:
        raise InvalidRequest(f"the text has {len(tokens)} tokens; to measure importance takes at least {FEWEST}")
    size = min(CHUNK, len(tokens))
    pieces = [tokens[i : i + size] for i in range(0, len(tokens) - size + 1, size)]
    if known.add_bos and known.bos_id is not None:
        pieces = [[known.bos_id, *piece[1:]] for piece in pieces]
    return pieces, size


def _run(model: Model, piece: list[int]) -> None:
    """One chunk, of which all states are wanted: the last layer leaves out rows of which nothing is."""
    everything = range(len(piece))
    blocks = range(blocks_for(len(piece)))
    model.forward([Chunk(piece, 0, blocks, outputs=0, states=everything)])


def _row(tensor: Tensor, total: NDArray[np.float64]) -> NDArray[np.float32]:
    if not np.isfinite(total).all():
        raise InvalidLogits(f"what {tensor.name} is multiplied with is not finite: the model is damaged")
    return total[None, : tensor.shape[-1]].astype(np.float32)
