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
    group: str  # kernels that are compiled together, when the first of them is needed

    def signature(self) -> Any:
        """The Numba signature: thread, threads, then the arguments."""
        slots = [types.float32 if kind == "Float" else types.int64 for _, kind in self.parameters]
        return types.void(types.int64, types.int64, *slots)

    def compile(self) -> Any:
        """Numba's dispatcher with this signature compiled."""
        return njit(self.signature(), no_cpython_wrapper=True, no_cfunc_wrapper=True, **_FLAGS)(self.function)


CORE = "core"  # the group of what every model needs
KERNELS: dict[str, Kernel] = {}


def kernel(function: Callable[..., None]) -> Callable[..., None]:
    """Register a kernel that every model needs, under its function's name."""
    register(function, function.__name__, CORE)
    return function


def kernel_of(group: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a kernel, under its function's name, in a group that only some models need."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        register(function, function.__name__, group)
        return function

    return decorate


def register(function: Callable[..., None], name: str, group: str) -> None:
    """Register a kernel under a name. Raises TypeError when its parameters are not a kernel's."""
    parameters = list(inspect.signature(function).parameters.values())
    if [p.name for p in parameters[:2]] != ["thread", "threads"]:
        raise TypeError(f"kernel {name} must begin with (thread, threads)")
    kinds = tuple((p.name, str(p.annotation)) for p in parameters[2:])
    unknown = [name for name, kind in kinds if kind not in KINDS]
    if unknown or name in KERNELS:
        raise TypeError(f"kernel {name}: bad annotation of {unknown}, or registered twice")
    KERNELS[name] = Kernel(name, function, kinds, group)


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
    """A function that kernels call; it is compiled into each of them, at each call: tiles must stay in registers."""
    return njit(**_FLAGS, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


@helper
def _nothing(start, rows, *arguments):  # type: ignore[no-untyped-def]
    """All rows are covered."""
