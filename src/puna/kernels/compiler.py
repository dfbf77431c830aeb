"""Compiles groups of kernels, an object file and a manifest each: `python -m puna.kernels.compiler FOLDER GROUP...`.

Runs in a process of its own, so that a program that only runs kernels never loads Numba. Numba turns Python into
LLVM IR; a C entry `void (int64 *arguments, int64 thread, int64 threads)` is put before each kernel; LLVM generates
code for the chosen instruction set. Prints one line for each kernel compiled, one for each group that is whole. Knows
nothing of caches.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
import sys
from pathlib import Path

import llvmlite.binding as llvm
from llvmlite import ir

import puna.kernels
from puna import hardware
from puna.errors import KernelError
from puna.kernels.cross import for_target, target_machine
from puna.kernels.kernel import KERNELS, Kernel

_I64 = ir.IntType(64)
_POINTER = ir.IntType(8).as_pointer()


def _register_kernels() -> None:
    for module in pkgutil.iter_modules(puna.kernels.__path__, "puna.kernels."):
        if module.name != __name__:
            importlib.import_module(module.name)


def symbol(name: str) -> str:
    """The entry's name in the object file."""
    return f"puna_{name}"


def _argument(builder: ir.IRBuilder, block: ir.Value, slot: int, kind: str) -> ir.Value:
    """Read one slot of the argument block as its kind says."""
    at = builder.gep(block, [_I64(slot)], source_etype=_I64)
    if kind == "Float":
        return builder.load(builder.bitcast(at, ir.FloatType().as_pointer()), typ=ir.FloatType())
    value = builder.load(at, typ=_I64)
    if kind == "Live":
        return builder.load(builder.inttoptr(value, _I64.as_pointer()), typ=_I64)
    return value


def _entry(kernel: Kernel, callee_name: str) -> str:
    """LLVM IR of the C entry that unpacks the argument block and calls what Numba made."""
    module = ir.Module(name=f"entry of {kernel.name}")
    slots = [ir.FloatType() if kind == "Float" else _I64 for _, kind in kernel.parameters]
    # Numba's convention: (return value *, exception **, arguments...) -> status
    callee_type = ir.FunctionType(ir.IntType(32), [_POINTER, _POINTER, _I64, _I64, *slots])
    callee = ir.Function(module, callee_type, callee_name)
    entry = ir.Function(module, ir.FunctionType(ir.VoidType(), [_I64] * 3), symbol(kernel.name))
    builder = ir.IRBuilder(entry.append_basic_block())
    block = builder.inttoptr(entry.args[0], _I64.as_pointer())
    arguments = [_argument(builder, block, i, kind) for i, (_, kind) in enumerate(kernel.parameters)]
    unused = builder.alloca(_POINTER)
    builder.call(callee, [builder.bitcast(unused, _POINTER)] * 2 + [entry.args[1], entry.args[2], *arguments])
    builder.ret_void()
    return str(module)


def _compile(kernel: Kernel) -> llvm.ModuleRef:
    """One kernel as an LLVM module in which only its C entry is visible."""
    dispatcher = kernel.compile()
    ((arguments, overload),) = dispatcher.overloads.items()
    code = for_target(dispatcher.inspect_llvm(arguments), hardware.target(hardware.isa()))
    module = llvm.parse_assembly(code)
    module.link_in(llvm.parse_assembly(_entry(kernel, overload.fndesc.llvm_func_name)))
    for function in module.functions:
        if not function.is_declaration and function.name != symbol(kernel.name):
            function.linkage = llvm.Linkage.internal
    for variable in module.global_variables:
        if not variable.is_declaration:
            variable.linkage = llvm.Linkage.internal
    return module


def _emit(modules: list[llvm.ModuleRef]) -> bytes:
    machine = target_machine(hardware.target(hardware.isa()))
    whole = modules[0]
    for module in modules[1:]:
        whole.link_in(module)
    whole.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(whole, builder)
    return bytes(machine.emit_object(whole))


def main(folder: Path, groups: list[str]) -> None:
    """Write kernels.o and manifest.json of each group into a folder of its name."""
    _register_kernels()
    chosen = {group: [kernel for kernel in KERNELS.values() if kernel.group == group] for group in groups}
    unknown = [group for group, kernels in chosen.items() if not kernels]
    if unknown:
        raise KernelError(f"there is no group of kernels named {unknown[0]!r}")
    _report(total=sum(map(len, chosen.values())))
    for group, kernels in chosen.items():
        _write(kernels, folder / group)
        _report(whole=group)


def _write(kernels: list[Kernel], folder: Path) -> None:
    modules = []
    for kernel in kernels:
        modules.append(_compile(kernel))
        _report(compiled=kernel.name)
    code = _emit(modules)
    manifest = {
        "sha256": hashlib.sha256(code).hexdigest(),
        "kernels": {k.name: [list(parameter) for parameter in k.parameters] for k in kernels},
        "groups": {k.name: k.group for k in KERNELS.values()},
    }
    folder.mkdir()
    (folder / "kernels.o").write_bytes(code)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))


def _report(**message: object) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
