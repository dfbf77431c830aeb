"""LLVM's code generator for a target, and how what Numba makes becomes code of another architecture.

Numba generates machine code of all it compiles, for this machine, before it gives the LLVM IR away. Instructions of
the other machine pass through it as calls of functions that are never called (`simd.instruction.call_llvm`); here
they get their own names back, and the module its own triple. Knows nothing of what kernels do.
"""

from __future__ import annotations

import re

import llvmlite.binding as llvm

from puna.hardware import ISA as Isa
from puna.hardware import Target
from puna.simd.instruction import FOREIGN, ISA

# With 16 registers LLVM's scheduler moves loads up until sums spill; the order in which kernels are written does not.
if ISA in (Isa.AVXVNNI, Isa.AVX2):
    llvm.set_option("puna", "--enable-misched=0")

_HEADER = re.compile(r'^target (datalayout|triple) = ".*"$', re.MULTILINE)


def target_machine(target: Target) -> llvm.TargetMachine:
    """LLVM's code generator for a target, this machine's or another's."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = target.triple or llvm.get_process_triple()
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="small"
    )


def for_target(code: str, target: Target) -> str:
    """Numba's LLVM IR as the target's own."""
    if not target.triple:
        return code
    header = {"datalayout": str(target_machine(target).target_data), "triple": target.triple}
    own = _HEADER.sub(lambda line: f'target {line[1]} = "{header[line[1]]}"', code)
    return own.replace(FOREIGN, "llvm.")
