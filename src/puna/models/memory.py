"""Large arrays: page-aligned, zero, committed only when touched, on huge pages where the system offers them.

Knows nothing of what they hold.
"""

from __future__ import annotations

import mmap
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_HUGE_PAGE = 1 << 21
_ARENA = 1 << 28  # bytes mapped at once
_LINE = 64  # bytes of a cache line


def _pages(size: int, *, huge: bool) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    # Python's default is a shared mapping, for which Linux has no huge pages; without them, streaming weights
    # stops at every 4 KiB for a new page.
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux" and huge and size >= _HUGE_PAGE:
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32, *, huge: bool = True) -> NDArray[Any]:
    """An array of zeros on pages of its own; memory is taken as it is written, on huge pages 2 MiB at a time."""
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(_pages(max(count * kind.itemsize, 1), huge=huge), kind, count).reshape(shape)


class Arena:
    """Bytes for many arrays that live together, side by side: each alone would begin and end on small pages."""

    def __init__(self) -> None:
        self._pages = _pages(_HUGE_PAGE, huge=False)
        self._used = len(self._pages)

    def zeros(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, on cache lines of their own."""
        if self._used + size > len(self._pages):
            self._pages, self._used = _pages(max(size, _ARENA), huge=True), 0
        start, self._used = self._used, self._used + -(-size // _LINE) * _LINE
        return np.frombuffer(self._pages, np.uint8, size, start)


def padded(width: int) -> int:
    """A width rounded up to whole vectors of 16."""
    return -(-width // 16) * 16
