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
    """One tensor: its name, its shape in numpy order (rows, columns), and its bytes when asked for."""

    name: str
    shape: tuple[int, ...]
    type: GGMLType
    load: Callable[[], NDArray[np.uint8]] = field(repr=False, compare=False)

    @property
    def data(self) -> NDArray[np.uint8]:
        """The raw bytes, flat and read-only.

        Usually a view of the mapped file, which costs nothing; where a Hugging Face folder stores something
        else (q and k in another order, f16 norms) a fresh copy at each call, so ask once. A GGUF's are
        aligned as the file says (8 bytes or more), a folder's need not be.
        """
        return self.load()

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

    def close(self) -> None:
        """Give the mapping back (arrays still held elsewhere keep it alive)."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
