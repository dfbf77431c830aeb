"""What this machine is: its processor's features and cores, and the instruction set our kernels take.

Knows nothing of kernels or models. Everything is read from the operating system or from LLVM's view of the
host; nothing is measured here.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from puna import paths
from puna.errors import KernelError


class ISA(StrEnum):
    """The instruction sets that kernels are compiled for, best first."""

    AVX512VNNI = "avx512vnni"
    AVX2 = "avx2"
    PORTABLE = "portable"


# The processor features (LLVM's names) without which a path would die of an illegal instruction.
_NEEDS: dict[ISA, frozenset[str]] = {
    ISA.AVX512VNNI: frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "fma", "f16c"}),
    ISA.AVX2: frozenset({"avx2", "fma", "f16c"}),
    ISA.PORTABLE: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What LLVM generates code for: a processor's name, for scheduling, and its features ('+avx2,-avx512f')."""

    isa: ISA
    cpu: str
    features: str


@cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features that this processor has."""
    import llvmlite.binding as llvm

    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def supported_isas() -> tuple[ISA, ...]:
    """The instruction sets that this machine can run, best first."""
    return tuple(isa for isa in ISA if _NEEDS[isa] <= host_features())


def isa() -> ISA:
    """The instruction set to use: PUNA_ISA if set, else the best that this machine has."""
    forced = paths.ISA.get()
    if forced is None:
        return supported_isas()[0]
    if forced not in set(ISA):
        raise KernelError(f"PUNA_ISA={forced!r} is unknown; use one of {', '.join(ISA)}")
    if ISA(forced) not in supported_isas():
        raise KernelError(f"PUNA_ISA={forced}, but this processor lacks it; it has {', '.join(supported_isas())}")
    return ISA(forced)


def target(chosen: ISA) -> Target:
    """The code generator's target for an instruction set on this machine."""
    import llvmlite.binding as llvm

    if chosen is ISA.AVX512VNNI:
        return Target(chosen, llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    if chosen is ISA.AVX2:
        return Target(chosen, "x86-64-v3", "+avx2,+fma,+f16c")
    return Target(chosen, "x86-64" if platform.machine() in ("x86_64", "AMD64") else "generic", "")


def physical_cores() -> int:
    """Cores this process may use, hyper-threads not counted: they share the units our kernels keep busy."""
    import psutil

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, psutil.cpu_count(logical=False) or usable))


def threads() -> int:
    """Threads of a runner: PUNA_THREADS if set, else the number of physical cores."""
    value = paths.THREADS.get()
    if value is None:
        return physical_cores()
    if not value.isdigit() or not 1 <= int(value) <= 1024:
        raise KernelError(f"PUNA_THREADS={value!r} is not a number from 1 to 1024")
    return int(value)
