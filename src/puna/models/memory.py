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


def _pages(size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(-1, size)
    # Python's default is a shared mapping, for which Linux has no huge pages; without them, streaming weights
    # stops at every 4 KiB for a new page.
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if sys.platform == "linux" and size >= _HUGE_PAGE:
        pages.madvise(mmap.MADV_HUGEPAGE)
    return pages


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """An array of zeros on pages of its own; memory is taken as it is written."""
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(_pages(max(count * kind.itemsize, 1)), kind, count).reshape(shape)


def padded(width: int) -> int:
    """A width rounded up to whole vectors of 16."""
    return -(-width // 16) * 16
