"""How an instruction is made: a function that emits LLVM IR becomes callable from code that Numba compiles.

The types are Numba types backed by LLVM vectors. Knows no particular instruction.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from puna import hardware

# The first part of the names of an architecture's own intrinsics.
_INTRINSICS = {"x86_64": "x86", "aarch64": "aarch64"}

# A process compiles for one instruction set (kernels are compiled in a process of their own).
ISA = hardware.isa()
_OF_OTHERS = tuple(f"llvm.{name}." for machine, name in _INTRINSICS.items() if machine != hardware.machine())

I1, I8, I16, I32, I64 = ir.IntType(1), ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)
F16, F32 = ir.HalfType(), ir.FloatType()
ADDRESS = types.int64


class Vector(types.Type):  # type: ignore[misc]  # numba is not typed
    """A Numba type that is exactly one LLVM type."""

    def __init__(self, name: str, llvm_type: ir.Type) -> None:
        self.llvm_type = llvm_type
        super().__init__(name=name)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    """A value is held as its LLVM type, unboxed."""

    def __init__(self, manager: Any, fe_type: Vector) -> None:
        super().__init__(manager, fe_type, fe_type.llvm_type)


def instruction(result: Any, *parameters: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make `emit(builder, *values) -> value` an instruction of the given Numba types."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def typed(_context: Any, *_: Any) -> tuple[Any, Callable[..., Any]]:
            def generate(context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> Any:
                made = emit(builder, *values)
                return context.get_dummy_value() if made is None else made

            return result(*parameters), generate

        return register(typed, emit, len(parameters))

    return decorate


def register(typed: Callable[..., Any], emit: Callable[..., Any], count: int, *, literal: bool = False) -> Any:
    """Hand Numba a typing function of `count` arguments, named and documented as `emit`."""
    typed.__name__, typed.__doc__ = emit.__name__, emit.__doc__
    names = ("context", *(f"a{i}" for i in range(count)))
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    # Numba folds call arguments by the function's signature, which *arguments would hide.
    typed.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
    return intrinsic(prefer_literal=literal)(typed)


def pointer(builder: ir.IRBuilder, address: ir.Value, llvm_type: ir.Type) -> ir.Value:
    """An int64 address as a pointer."""
    return builder.inttoptr(address, llvm_type.as_pointer())


def splat(builder: ir.IRBuilder, scalar: ir.Value, lanes: int) -> ir.Value:
    """One value in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, scalar, I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def constant(vector: ir.VectorType, value: float) -> ir.Constant:
    """A vector constant with one value in every lane."""
    return ir.Constant(vector, [value] * vector.count)


def shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, indices: list[int]) -> ir.Value:
    """Lanes of a (0 to n-1) and b (n to 2n-1) by index."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(indices)), indices))


# What stands for "llvm." in the names of another architecture's instructions while Numba compiles for this one.
FOREIGN = "puna.foreign."


def call_llvm(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    """Call an LLVM intrinsic by its name."""
    if name.startswith(_OF_OTHERS):
        name = FOREIGN + name.removeprefix("llvm.")
        llvm.add_symbol(name, 1)  # never called here, but Numba wants an address
    signature = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, signature, name), arguments)
