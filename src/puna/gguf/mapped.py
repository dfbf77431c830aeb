"""Files opened for reading, and an open model made of them.

Headers are mapped; tensors are read, a few rows at a time, so that what is read is not left in memory and a file
that shrinks is an error, where touching a mapped page of it would end the process. Knows no format.
"""

from __future__ import annotations

import mmap
import os
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, ModelNotFound
from puna.gguf.model_file import Tensor, Value


class MappedFile:
    """One open file. It is closed with the last of those that read from it."""

    def __init__(self, path: Path) -> None:
        """Raises ModelNotFound or, when it is empty or cannot be read, InvalidGGUF."""
        self.path = path
        try:
            self._file = FileIO(path)
            weakref.finalize(self, self._file.close)
            self.map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise ModelNotFound(f"no such file: {path}") from None
        except IsADirectoryError:
            raise InvalidGGUF(f"{path}: a folder, not a file") from None
        except (OSError, ValueError) as error:  # ValueError: mmap's word for an empty file
            raise InvalidGGUF(f"{path}: cannot be read: {error}") from None
        self._version = self._size_and_time()
        self._seeking = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes in the file when it was opened."""
        return self._version[0]

    @property
    def state(self) -> str:
        """Tells the file's content from what it was or will be, on this machine: its inode, its size, its times."""
        status = os.fstat(self._file.fileno())
        return f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}:{self._version}"

    def read(self, start: int, count: int) -> NDArray[np.uint8]:
        """`count` bytes from `start` on, read-only; from several threads at once, if need be.

        Raises InvalidGGUF when the file is no longer what was opened. (A file put in its place by renaming does no
        harm: what was opened stays.)
        """
        out = np.empty(count, np.uint8)
        target, done = memoryview(out.data), 0
        while done < count:
            got = self._read_into(target[done:], start + done)
            if not got:
                break
            done += got
        if done < count or self._size_and_time() != self._version:
            raise InvalidGGUF(f"{self.path}: the file was changed after it was opened: load the model again")
        out.flags.writeable = False
        return out

    def _read_into(self, target: memoryview, start: int) -> int:
        if sys.platform == "win32":
            with self._seeking:
                self._file.seek(start)
                return self._file.readinto(target)
        return os.preadv(self._file.fileno(), [target], start)

    def _size_and_time(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns

    def unmap(self) -> None:
        """Give the mapping back; if somebody still holds a view, it goes with the last of them."""
        with suppress(BufferError):
            self.map.close()


class MappedModel:
    """A `ModelFile` over open files."""

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, Value],
        tensors: Mapping[str, Tensor],
        files: Sequence[MappedFile],
        folder: Path | None = None,
    ) -> None:
        self.path = path
        self.metadata: Mapping[str, Value] = MappingProxyType(dict(metadata))
        self.tensors: Mapping[str, Tensor] = MappingProxyType(dict(tensors))
        self.folder = folder
        self.size = sum(file.size for file in files)
        self.state = " ".join(file.state for file in files)
        self._files = files

    def with_metadata(self, metadata: Mapping[str, Value]) -> MappedModel:
        """The same tensors of the same files under other metadata, as what a GGUF of it would be: without a folder."""
        return MappedModel(self.path, metadata, self.tensors, self._files)

    def close(self) -> None:
        """Give the files back (tensors and arrays still held elsewhere keep theirs open)."""
        self.metadata = MappingProxyType({})
        self.tensors = MappingProxyType({})
        files, self._files = self._files, []
        for file in files:
            file.unmap()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
