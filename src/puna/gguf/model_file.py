"""What a model file looks like to the rest of Puna, whether it is a GGUF or a Hugging Face folder.

Knows no format: `reader.py` and `huggingface.py` make these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.gguf.types import GGMLType

# A metadata value: a scalar, a string, a numpy array (arrays of numbers and of booleans), or a sequence
# (of strings: lazily decoded; of arrays: a tuple).
Value: TypeAlias = bool | int | float | str | NDArray[Any] | Sequence[str] | Sequence["Value"]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its name, its shape in numpy order (rows, columns), and its bytes when asked for.

    `read(first, last)` gives the raw bytes of rows `first` to `last - 1`, flat, read-only, and read anew at each
    call. It raises InvalidGGUF when the file was changed since it was opened.
    """

    name: str
    shape: tuple[int, ...]
    type: GGMLType
    read: Callable[[int, int], NDArray[np.uint8]] = field(repr=False, compare=False)

    @property
    def rows(self) -> int:
        """Rows of `shape[-1]` numbers; a vector is one row."""
        return prod(self.shape[:-1])

    @property
    def data(self) -> NDArray[np.uint8]:
        """The raw bytes of all rows: a fresh copy at each call, so ask once."""
        return self.read(0, self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes of `data`, known without loading it."""
        return self.type.nbytes(self.shape)

    @property
    def elements(self) -> int:
        """Numbers in the tensor."""
        return prod(self.shape)


class ModelFile(Protocol):
    """An open model: metadata under GGUF's keys, tensors under GGUF's names."""

    @property
    def path(self) -> Path:
        """The file (a split file's first shard) or the folder."""
        ...

    @property
    def metadata(self) -> Mapping[str, Value]:
        """GGUF metadata."""
        ...

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Tensors by GGUF name, in file order."""
        ...

    @property
    def folder(self) -> Path | None:
        """The Hugging Face folder, which also holds the tokenizer; None for a GGUF."""
        ...

    @property
    def size(self) -> int:
        """Bytes on disk, all shards."""
        ...

    @property
    def state(self) -> str:
        """Tells what the files hold from what they held or will hold, without reading them: inodes, sizes, times."""
        ...

    def close(self) -> None:
        """Give the files back (tensors and arrays still held elsewhere keep theirs open)."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
