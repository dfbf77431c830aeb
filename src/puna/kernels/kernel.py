"""How a kernel is written: a function of (thread, threads) and named arguments, registered by `@kernel`.

Every argument is one 8-byte slot of the block that a tape hands over; its annotation says how the slot is read.
Imported only by the process that compiles. Knows no particular kernel.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numba import njit, types

# The annotations of a kernel's parameters. All but Float reach the kernel as int64.
Address = int  # where something lies in memory
Int = int  # a number fixed when the tape is recorded
Live = int  # a number read, when the kernel runs, from the int64 whose address was recorded
Float = float  # a float32 fixed when the tape is recorded

KINDS = ("Address", "Int", "Live", "Float")

# numpy's error model: no Python exception on division by zero, hence no way back into Python.
_FLAGS: dict[str, Any] = {"error_model": "numpy", "boundscheck": False, "nogil": True}


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel's function and its parameters, as (name, one of KINDS)."""

    name: str
    function: Callable[..., None]
    parameters: tuple[tuple[str, str], ...]

    def signature(self) -> Any:
        """The Numba signature: thread, threads, then the arguments."""
        slots = [types.float32 if kind == "Float" else types.int64 for _, kind in self.parameters]
        return types.void(types.int64, types.int64, *slots)

    def compile(self) -> Any:
        """Numba's dispatcher with this signature compiled."""
        return njit(self.signature(), no_cpython_wrapper=True, no_cfunc_wrapper=True, **_FLAGS)(self.function)


KERNELS: dict[str, Kernel] = {}


def kernel(function: Callable[..., None]) -> Callable[..., None]:
    """Register a kernel under its function's name."""
    parameters = list(inspect.signature(function).parameters.values())
    if [p.name for p in parameters[:2]] != ["thread", "threads"]:
        raise TypeError(f"kernel {function.__name__} must begin with (thread, threads)")
    kinds = tuple((p.name, str(p.annotation)) for p in parameters[2:])
    unknown = [name for name, kind in kinds if kind not in KINDS]
    if unknown or function.__name__ in KERNELS:
        raise TypeError(f"kernel {function.__name__}: bad annotation of {unknown}, or registered twice")
    KERNELS[function.__name__] = Kernel(function.__name__, function, kinds)
    return function


def by_tiles(make: Callable[[int], Any], sizes: tuple[int, ...]) -> Any:
    """A function of (start, rows, *arguments) that covers rows by tiles of these sizes, the largest first.

    `make(count)` gives the tile: a helper of (start, *arguments) for `count` rows.
    """
    count, tile = sizes[0], make(sizes[0])
    rest = by_tiles(make, sizes[1:]) if len(sizes) > 1 else _nothing

    @helper
    def cover(start, rows, *arguments):  # type: ignore[no-untyped-def]
        while start + count <= rows:
            tile(start, *arguments)
            start += count
        rest(start, rows, *arguments)

    return cover


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels call; it is compiled into each of them."""
    return njit(**_FLAGS)(function)


@helper
def _nothing(start, rows, *arguments):  # type: ignore[no-untyped-def]
    """All rows are covered."""
