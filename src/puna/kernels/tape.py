"""A tape: kernels to call one after another, each with its block of arguments, recorded once and run many times.

Arguments are checked by name and kind when they are recorded, because a kernel could not check them. Knows nothing
of the kernels' meaning.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puna.errors import KernelError
from puna.kernels.library import KernelLibrary

# An array stands for the address of its first byte; the tape keeps it alive.
Argument = NDArray[np.generic] | int | float


@dataclass(frozen=True, slots=True)
class Call:
    """One recorded call: the kernel's name, its address, and that of its argument block."""

    kernel: str
    address: int
    arguments: int


class Tape:
    """Recorded calls of kernels."""

    def __init__(self, library: KernelLibrary) -> None:
        self._library = library
        self._calls: list[Call] = []
        self._alive: list[NDArray[np.generic]] = []
        self._entries: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        """The calls, in the order in which they run."""
        return iter(self._calls)

    def only(self, prefix: str) -> Tape:
        """A tape of the calls of those kernels whose names begin so."""
        part = Tape(self._library)
        part._calls = [call for call in self if call.kernel.startswith(prefix)]
        part._alive = self._alive
        return part

    def record(self, kernel: str, arguments: Mapping[str, Argument]) -> None:
        """Add a call. `Live` parameters take an int64 array, whose first element is read when the kernel runs.

        Raises KernelError when names or kinds are not the kernel's.
        """
        parameters = self._library.parameters(kernel)
        if [name for name, _ in parameters] != list(arguments):
            raise KernelError(f"{kernel} takes {[n for n, _ in parameters]}, in this order, not {list(arguments)}")
        slots = [self._slot(kernel, name, kind, arguments[name]) for name, kind in parameters]
        block = np.array(slots, np.int64)
        self._alive.append(block)
        self._calls.append(Call(kernel, self._library.address(kernel), block.ctypes.data))
        self._entries = None

    def _slot(self, kernel: str, name: str, kind: str, value: Argument) -> int:
        if kind == "Float" and isinstance(value, float):
            return int(struct.unpack("<i", struct.pack("<f", value))[0])
        if kind == "Int" and isinstance(value, int):
            return value
        is_address = kind == "Address" or (kind == "Live" and getattr(value, "dtype", None) == np.int64)
        if is_address and isinstance(value, np.ndarray):
            self._alive.append(value)
            return int(value.ctypes.data)
        raise KernelError(f"{kernel}: {name} is {kind}; {type(value).__name__} does not fit")

    def entries(self) -> NDArray[np.int64]:
        """(calls, 2): each kernel's address and the address of its argument block."""
        if self._entries is None:
            self._entries = np.array([(call.address, call.arguments) for call in self], np.int64).reshape(-1, 2)
        return self._entries
