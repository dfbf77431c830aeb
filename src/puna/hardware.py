"""What this machine is: its processor's features and cores, and the instruction set our kernels take.

Knows nothing of kernels or models. Everything is read from the operating system or from LLVM's view of the
host; nothing is measured here.
"""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from puna import paths
from puna.errors import KernelError


class ISA(StrEnum):
    """The instruction sets that kernels are compiled for, best first."""

    AVX512VNNI = "avx512vnni"
    AVXVNNI = "avxvnni"
    AVX2 = "avx2"
    I8MM = "i8mm"
    NEON = "neon"
    PORTABLE = "portable"


@dataclass(frozen=True, slots=True)
class _Path:
    """Where an instruction set is found, in LLVM's names."""

    machine: str  # "" is any
    cpu: str  # a processor that has no more than is needed
    needs: frozenset[str]  # features without which the code would die of an illegal instruction
    excludes: tuple[str, ...] = ()  # beginnings of the names of features that a better path is for


_X86_64, _AARCH64 = "x86_64", "aarch64"
_AVX2, _AVX512 = frozenset({"avx2", "fma", "f16c"}), ("avx512", "avx10", "amx")
_PATHS: dict[ISA, _Path] = {
    ISA.AVX512VNNI: _Path(_X86_64, "x86-64-v4", _AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"}),
    ISA.AVXVNNI: _Path(_X86_64, "x86-64-v3", _AVX2 | {"avxvnni"}, _AVX512),
    ISA.AVX2: _Path(_X86_64, "x86-64-v3", _AVX2, (*_AVX512, "avxvnni")),
    ISA.I8MM: _Path(_AARCH64, "generic", frozenset({"neon", "dotprod", "i8mm"})),
    ISA.NEON: _Path(_AARCH64, "generic", frozenset({"neon", "dotprod"}), ("i8mm",)),
    ISA.PORTABLE: _Path("", "", frozenset()),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What LLVM generates code for: a processor's name, for scheduling, its features ('+avx2,-avx512f'), a triple."""

    isa: ISA
    cpu: str
    features: str
    triple: str = ""  # "" is this machine's


def machine() -> str:
    """This machine's architecture, in LLVM's words."""
    name = platform.machine()
    return {"AMD64": _X86_64, "arm64": _AARCH64}.get(name, name)


@cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features that this processor has."""
    import llvmlite.binding as llvm

    found = frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)
    return found | _arm_features() if machine() == _AARCH64 else found


def _arm_features() -> frozenset[str]:
    """What LLVM does not tell of an Arm processor: Linux's hardware capabilities (asm/hwcap.h)."""
    if platform.system() == "Darwin":
        return frozenset({"neon", "dotprod"})  # every Mac with an Arm processor has them
    if platform.system() != "Linux":
        return frozenset()
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype = ctypes.c_ulong
    at_hwcap, at_hwcap2 = 16, 26
    bits = {"neon": (at_hwcap, 1), "dotprod": (at_hwcap, 20), "i8mm": (at_hwcap2, 13)}
    return frozenset(name for name, (word, bit) in bits.items() if getauxval(word) >> bit & 1)


def supported_isas() -> tuple[ISA, ...]:
    """The instruction sets that this machine can run, best first."""
    return tuple(isa for isa in ISA if _PATHS[isa].machine in ("", machine()) and _PATHS[isa].needs <= host_features())


def isa() -> ISA:
    """The instruction set to compile for: PUNA_ISA if set, else the best that this machine has."""
    forced = paths.ISA.get()
    if forced is None:
        return supported_isas()[0]
    if forced not in set(ISA):
        raise KernelError(f"PUNA_ISA={forced!r} is unknown; use one of {', '.join(ISA)}")
    return ISA(forced)


def require(chosen: ISA) -> None:
    """Raise KernelError if this processor cannot run an instruction set."""
    if chosen not in supported_isas():
        raise KernelError(f"PUNA_ISA={chosen}, but this processor lacks it; it has {', '.join(supported_isas())}")


def target(chosen: ISA) -> Target:
    """The code generator's target for an instruction set: this processor if it has it, else the least that has."""
    import llvmlite.binding as llvm

    path = _PATHS[chosen]
    if chosen is ISA.PORTABLE:
        return Target(chosen, "x86-64" if machine() == _X86_64 else "generic", "")
    if chosen not in supported_isas():
        elsewhere = "" if path.machine == machine() else f"{path.machine}-unknown-linux-gnu"
        return Target(chosen, path.cpu, ",".join(f"+{name}" for name in sorted(path.needs)), elsewhere)
    has = dict(llvm.get_host_cpu_features()) | dict.fromkeys(path.needs, True)
    used = {name: present and not name.startswith(path.excludes) for name, present in has.items()}
    features = ",".join(f"{'+' if use else '-'}{name}" for name, use in sorted(used.items()))
    return Target(chosen, llvm.get_host_cpu_name(), features)


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


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of RAM."""

    total: int
    available: int  # what programs can take without swapping


_CONTROL_GROUP = Path("/sys/fs/cgroup")


def memory() -> Memory:
    """What this process may use: the machine's, or less where a container (Linux's control group 2) has a limit."""
    import psutil

    machine = psutil.virtual_memory()
    try:
        limit = int((_CONTROL_GROUP / "memory.max").read_text())  # "max" where there is none
        used = int((_CONTROL_GROUP / "memory.current").read_text())
        statistics = dict(line.split() for line in (_CONTROL_GROUP / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return Memory(machine.total, machine.available)
    free = limit - used + int(statistics.get("inactive_file", 0))  # cached files give way
    return Memory(min(machine.total, limit), max(0, min(machine.available, free)))
