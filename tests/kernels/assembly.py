"""Prints the assembly of kernels for the instruction set of PUNA_ISA: `python -m tests.kernels.assembly KERNEL...`."""

from __future__ import annotations

import sys

import llvmlite.binding as llvm

from puna import hardware
from puna.kernels import compiler
from puna.kernels.cross import target_machine
from puna.kernels.kernel import KERNELS


def main(names: list[str]) -> None:
    machine = target_machine(hardware.target(hardware.isa()))
    compiler._register_kernels()
    whole = llvm.parse_assembly("")
    whole.triple, whole.data_layout = machine.triple, str(machine.target_data)
    for name in names:
        whole.link_in(compiler._compile(KERNELS[name]))
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(whole, builder)
    print(machine.emit_assembly(whole))


if __name__ == "__main__":
    main(sys.argv[1:])
