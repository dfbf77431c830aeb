"""The shards of a split GGUF written as one file, as it was before it was split. Knows nothing of where they come from.

Tensors keep their order and their bytes; of the metadata, only the keys that speak of the splitting go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF
from puna.gguf import GGUFWriter, Tensor, ValueType
from puna.gguf.reader import DEFAULT_ALIGNMENT, GGUFFile, open_gguf
from puna.store import files
from puna.store.progress import Progress, Report, check

_SPLIT = ("split.no", "split.count", "split.tensors.count")
_ALIGNMENT = "general.alignment"
_ARCHITECTURE = "general.architecture"
_PIECE = 4 << 20  # bytes of a tensor that are in memory at once


def join(
    shards: Sequence[Path],
    folder: Path,
    target: Path,
    report: Report,
    cancelled: threading.Event | None,
    spend: Callable[[int], None] | None = None,
) -> None:
    """Write the shards (in order) into `target`.

    Args:
        folder: an empty one, in which the shards get links with the names that shards have.
        spend: called with the place of each shard in `shards` once all of it is written.

    Raises:
        InvalidGGUF: they do not belong together.
        StoreError: no room.
    """
    links = [folder / f"model-{number:05}-of-{len(shards):05}.gguf" for number in range(1, len(shards) + 1)]
    with files.storing(f"join {len(shards)} files into {target}"):
        for link, shard in zip(links, shards, strict=True):
            link.symlink_to(shard.absolute())
        with open_gguf(links[0]) as opened:
            if len(shards) > 1 and opened.metadata.get("split.count") != len(shards):
                raise InvalidGGUF(f"{len(shards)} files were to be joined, which say that they are whole")
            total = sum(tensor.nbytes for tensor in opened.tensors.values())
            ends = accumulate(_tensor_count(link) for link in links)
            spent = {end: partial(spend, place) for place, end in enumerate(ends)} if spend is not None else {}
            _writer(opened, _Count(total, report, cancelled), spent).write(target)


class _Count:
    """How much is written."""

    def __init__(self, total: int, report: Report, cancelled: threading.Event | None) -> None:
        self._total, self._report, self._cancelled = total, report, cancelled
        self._done = 0

    def add(self, size: int) -> None:
        check(self._cancelled)
        self._done += size
        self._report(Progress("joining shards", total=self._total, completed=self._done))


def _tensor_count(path: Path) -> int:
    """As its header tells: magic and version (4 bytes each), then this (8)."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(16)[8:], "little")


def _writer(opened: GGUFFile, count: _Count, spent: Mapping[int, Callable[[], None]]) -> GGUFWriter:
    """spent: what to do after so many tensors."""
    alignment = opened.metadata.get(_ALIGNMENT, DEFAULT_ALIGNMENT)
    architecture = opened.metadata.get(_ARCHITECTURE)
    writer = GGUFWriter(
        architecture if isinstance(architecture, str) else None,
        alignment=alignment if isinstance(alignment, int) else DEFAULT_ALIGNMENT,
    )
    for key, value in opened.metadata.items():
        if key not in (*_SPLIT, _ALIGNMENT, _ARCHITECTURE):
            kind = opened.value_types[key]
            writer.add(key, value, None if kind is ValueType.ARRAY else kind)  # an array's items have their own
    for number, tensor in enumerate(opened.tensors.values(), 1):
        pieces = partial(_pieces, tensor, count, spent.get(number))
        writer.add_tensor(tensor.name, tensor.shape, tensor.type, pieces)
    return writer


def _pieces(tensor: Tensor, count: _Count, afterwards: Callable[[], None] | None) -> Iterator[NDArray[np.uint8]]:
    step = max(1, _PIECE * tensor.rows // max(tensor.nbytes, 1))
    for first in range(0, tensor.rows, step):
        piece = tensor.read(first, min(first + step, tensor.rows))
        count.add(piece.nbytes)
        yield piece
    if afterwards is not None:
        afterwards()
