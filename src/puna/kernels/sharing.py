"""How threads share work that comes in items of unlike weight, such as the rows of each expert. Knows no kernel."""

from __future__ import annotations

from puna.kernels.kernel import helper
from puna.kernels.tiling import BLOCK_BYTES
from puna.simd import get_i64

# What a group of weights costs beside its rows, in rows: fetching it from memory.
FETCHING = 2


@helper
def begun(work, thread, threads, start, weight, units):
    """How many units of an item begin in the parts of the threads before this one.

    The whole work is cut into equal parts, one for each thread; the item lies in it from `start` on and has `units`
    units of the same weight.
    """
    return min(units, max(0, (work * thread // threads - start + weight - 1) // weight))


@helper
def part_of_rows(bounds, part):
    """A part's first row, its number of rows, and what a group of 16 rows of weights costs for it."""
    first = get_i64(bounds + part * 8)
    rows = get_i64(bounds + part * 8 + 8) - first
    return first, rows, rows + FETCHING


@helper
def matmul_work(bounds, parts, groups):
    """What all parts that have rows cost together."""
    work = 0
    for part in range(parts):
        _, rows, weight = part_of_rows(bounds, part)
        if rows > 0:
            work += weight * groups
    return work


@helper
def groups_at_once(size):
    """How many groups of 16 rows, of `size` bytes each, a thread multiplies with all tokens together: pairs."""
    return max(1, BLOCK_BYTES // size // 2) * 2
