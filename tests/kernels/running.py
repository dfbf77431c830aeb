"""Runs one kernel through the library, a tape and a team, as a model does."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import settings
from numpy.typing import NDArray

from puna.kernels import KernelLibrary, Tape, Team
from puna.kernels.tape import Argument

THREADS = (1, 2, 3)

# The same few examples on every run.
EXAMPLES = settings(derandomize=True, max_examples=25, deadline=None)


class Kernels:
    """Calls kernels by name: `kernels.run("silu_gate", 2, gate=..., up=..., ...)`."""

    def __init__(self, library: KernelLibrary) -> None:
        self.library = library
        self.teams = {threads: Team(library, threads) for threads in THREADS}

    def run(self, kernel: str, threads: int = 1, /, **arguments: Argument) -> None:
        tape = Tape(self.library)
        tape.record(kernel, arguments)
        self.teams[threads].run(tape)

    def close(self) -> None:
        for team in self.teams.values():
            team.close()


def live(value: int) -> NDArray[np.int64]:
    """A number that the kernel reads when it runs."""
    return np.array([value], np.int64)


def bounds(*rows: int) -> NDArray[np.int64]:
    """The first row of each part of so many rows, then the number of all."""
    return np.array([0, *np.cumsum(rows)], np.int64)


def misaligned(array: NDArray[Any]) -> NDArray[Any]:
    """A copy that begins at an odd address, as tensors of a mapped file may."""
    raw = bytearray(array.nbytes + 16)
    start = 1 - np.frombuffer(raw, np.uint8).ctypes.data % 2
    copy = np.frombuffer(raw, array.dtype, array.size, start).reshape(array.shape)
    copy[...] = array
    return copy


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    """Normally distributed float32."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """Equal to the last bit, the sign of zero included."""
    return a.shape == b.shape and np.array_equal(
        np.ascontiguousarray(a).view(np.uint32), np.ascontiguousarray(b).view(np.uint32)
    )
