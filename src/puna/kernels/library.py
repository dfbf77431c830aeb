"""The compiled kernels as machine code in this process: loaded from the cache, by groups, when they are needed.

Loading needs LLVM's loader only, not Numba. Knows nothing of what kernels do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import llvmlite.binding as llvm

from puna import hardware
from puna.errors import KernelError
from puna.kernels.cache import Cache, Compiled, Progress

CORE = "core"  # the group of what every model needs


class KernelLibrary:
    """Kernels' addresses and parameters; a group not loaded yet is loaded (or compiled) when a kernel is asked for."""

    def __init__(self, cache: Cache, groups: Iterable[str], progress: Progress | None) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self._cache, self._lock = cache, threading.Lock()
        self._loaded: dict[str, _Group] = {}
        self._load({CORE, *groups}, progress)
        self._groups = self._loaded[CORE].groups  # of every kernel there is

    def _load(self, groups: Iterable[str], progress: Progress | None = None) -> None:
        self._loaded |= {name: _Group(compiled) for name, compiled in self._cache.get(groups, progress).items()}

    def group(self, kernel: str) -> str:
        """The group that a kernel is compiled with."""
        group = self._groups.get(kernel)
        if group is None:
            raise KernelError(f"no kernel is named {kernel!r}")
        return group

    def _of(self, kernel: str) -> _Group:
        group = self.group(kernel)
        with self._lock:
            if group not in self._loaded:
                self._load([group])
            return self._loaded[group]

    def address(self, kernel: str) -> int:
        """Where a kernel's C entry lies: `void (int64 *arguments, int64 thread, int64 threads)`."""
        return self._of(kernel).address(kernel)

    def parameters(self, kernel: str) -> tuple[tuple[str, str], ...]:
        """A kernel's parameters in order: (name, 'Address' | 'Int' | 'Live' | 'Float')."""
        return self._of(kernel).parameters[kernel]

    def names(self) -> tuple[str, ...]:
        """Every kernel there is, loaded or not."""
        return tuple(self._groups)


class _Group:
    """Machine code of one group."""

    def __init__(self, compiled: Compiled) -> None:
        machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(compiled.code))
        self._engine.finalize_object()
        self.parameters, self.groups = compiled.parameters, compiled.groups

    def address(self, kernel: str) -> int:
        """Where a kernel's C entry lies."""
        address = self._engine.get_function_address(f"puna_{kernel}")
        if not address:
            raise KernelError(f"the compiled kernel {kernel!r} has no entry")
        return int(address)


def load(progress: Progress | None = None, groups: Iterable[str] = ()) -> KernelLibrary:
    """The kernels for this machine; the core and these groups are compiled first if they are not in the cache.

    Raises KernelError if the instruction set asked for is absent or compiling fails.
    """
    chosen = hardware.isa()
    hardware.require(chosen)
    return KernelLibrary(Cache(hardware.target(chosen)), groups, progress)
