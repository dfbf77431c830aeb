"""The loop that every thread of a team runs: call each kernel of a tape, with a barrier after each.

Knows nothing of what the kernels do.
"""

from __future__ import annotations

from puna.kernels.kernel import Address, Int, helper, kernel
from puna.simd import atomic_add, atomic_load, call, get_i64, pause

# Spins before the thread gives its core away: a barrier is usually met within a microsecond.
SPINS = 20_000


@helper
def _barrier(state, yield_function, threads):
    """Wait until all threads are here. state: int64 arrived at 0, int64 generation at 64 (its own cache line)."""
    generation = atomic_load(state + 64)
    if atomic_add(state, 1) == threads - 1:
        atomic_add(state, -threads)
        atomic_add(state + 64, 1)
        return
    spins = 0
    while atomic_load(state + 64) == generation:
        spins += 1
        if spins > SPINS:
            pause(yield_function)


@kernel
def run_tape(thread: int, threads: int, entries: Address, count: Int, state: Address, yield_function: Address) -> None:
    """entries: `count` pairs of int64 (kernel's address, address of its argument block)."""
    for i in range(count):
        call(get_i64(entries + i * 16), get_i64(entries + i * 16 + 8), thread, threads)
        if threads > 1:
            _barrier(state, yield_function, threads)
