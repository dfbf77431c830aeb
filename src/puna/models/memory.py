"""Large arrays: page-aligned, zero, committed only when touched, on huge pages where the system offers them.

Knows nothing of what they hold.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def zeros(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """An array of zeros on pages of its own; memory is taken as it is written."""
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    pages = mmap.mmap(-1, max(count * kind.itemsize, 1))
    if hasattr(mmap, "MADV_HUGEPAGE") and len(pages) >= 1 << 21:
        pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, kind, count).reshape(shape)


def padded(width: int) -> int:
    """A width rounded up to whole vectors of 16."""
    return -(-width // 16) * 16
