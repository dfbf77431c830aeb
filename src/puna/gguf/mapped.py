"""Memory-mapped files, and an open model made of them.

Knows no format. A file must not shrink while it is mapped (the system would end the process).
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from puna.errors import InvalidGGUF, ModelNotFound
from puna.gguf.model_file import Tensor, Value


def map_file(path: Path) -> mmap.mmap:
    """The whole file, read-only; raises ModelNotFound or, when it is empty or cannot be read, InvalidGGUF."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ModelNotFound(f"no such file: {path}") from None
    except IsADirectoryError:
        raise InvalidGGUF(f"{path}: a folder, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: mmap's word for an empty file
        raise InvalidGGUF(f"{path}: cannot be read: {error}") from None


class MappedModel:
    """A `ModelFile` over memory-mapped files."""

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, Value],
        tensors: Mapping[str, Tensor],
        size: int,
        maps: Sequence[mmap.mmap],
        folder: Path | None = None,
    ) -> None:
        self.path = path
        self.metadata: Mapping[str, Value] = MappingProxyType(dict(metadata))
        self.tensors: Mapping[str, Tensor] = MappingProxyType(dict(tensors))
        self.folder = folder
        self.size = size
        self._maps = maps

    def close(self) -> None:
        """Give the mapping back (arrays still held elsewhere keep it alive)."""
        self.metadata = MappingProxyType({})
        self.tensors = MappingProxyType({})
        maps, self._maps = self._maps, []
        for mapping in maps:
            with suppress(BufferError):  # somebody still holds a view: the map goes with the last of them
                mapping.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
