"""Kernels of activation functions, alone and as gates: SiLU, GELU by the error function, by tanh, by the sigmoid.

Elementwise on float32, shared out among threads. Knows nothing of rows' meaning.
"""

from __future__ import annotations

import math

import numpy as np

from puna.kernels.kernel import Address, Int, Live, helper, kernel_of, register
from puna.simd import absolute, exp, fma, less, load_f32, maximum, minimum, select, splat_f32, store_f32

f32 = np.float32

_SQRT_HALF = f32(math.sqrt(0.5))
_TANH_SCALE = f32(2 * math.sqrt(2 / math.pi))
# Abramowitz & Stegun 7.1.26: erfc z = (a1 t + ... + a5 t**5) e**-z**2 with t = 1 / (1 + p z), to 1.5e-7, for z >= 0.
_P = f32(0.3275911)
_A1, _A2, _A3, _A4, _A5 = f32(0.254829592), f32(-0.284496736), f32(1.421413741), f32(-1.453152027), f32(1.061405429)


@helper
def _silu(x):
    """x / (1 + e**-x)"""
    return x / (splat_f32(f32(1)) + exp(splat_f32(f32(0)) - x))


@helper
def _gelu(x):
    """x P(X <= x) of a normal X (Hendrycks & Gimpel 2016): x erfc(-x / sqrt 2) / 2."""
    zero, one = splat_f32(f32(0)), splat_f32(f32(1))
    z = absolute(x) * splat_f32(_SQRT_HALF)
    t = one / fma(z, splat_f32(_P), one)
    tail = fma(splat_f32(_A5), t, splat_f32(_A4))
    tail = fma(tail, t, splat_f32(_A3))
    tail = fma(tail, t, splat_f32(_A2))
    tail = fma(tail, t, splat_f32(_A1))
    half_erfc = tail * t * exp(zero - z * z) * splat_f32(f32(0.5))
    return x * select(less(x, zero), half_erfc, one - half_erfc)


@helper
def _gelu_tanh(x):
    """x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x**3): x / (1 + e**-2u)."""
    one, zero = splat_f32(f32(1)), splat_f32(f32(0))
    twice = splat_f32(_TANH_SCALE) * x * fma(splat_f32(f32(0.044715)), x * x, one)
    return x / (one + exp(zero - twice))


@helper
def _gelu_quick(x):
    """x / (1 + e**-1.702x): GELU by the sigmoid (Hendrycks & Gimpel 2016), as CLIP has it."""
    return x / (splat_f32(f32(1)) + exp(splat_f32(f32(-1.702)) * x))


def _register(name, function):
    def activation(thread: int, threads: int, x: Address, width: Int, rows: Live) -> None:
        vectors = rows * width // 16
        for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
            store_f32(x + i * 64, function(load_f32(x + i * 64)))

    def gate(thread: int, threads: int, gate: Address, up: Address, width: Int, rows: Live) -> None:
        vectors = rows * width // 16
        for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
            store_f32(gate + i * 64, function(load_f32(gate + i * 64)) * load_f32(up + i * 64))

    activation.__doc__ = f"x = {name}(x); rows x width float32."
    gate.__doc__ = f"gate = {name}(gate) * up (Shazeer 2020); rows x width float32."
    register(activation, name, "core")
    register(gate, f"{name}_gate", "core")


@kernel_of("routing")
def clamped_silu_gate(thread: int, threads: int, gate: Address, up: Address, width: Int, rows: Live) -> None:
    """gate = g / (1 + e**-1.702g) * (u + 1), g = gate but at most 7, u = up within -7 to 7 (OpenAI 2025, gpt-oss)."""
    vectors = rows * width // 16
    limit, one, zero = splat_f32(f32(7)), splat_f32(f32(1)), splat_f32(f32(0))
    for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
        g = minimum(load_f32(gate + i * 64), limit)
        u = maximum(minimum(load_f32(up + i * 64), limit), zero - limit)
        store_f32(gate + i * 64, g / (one + exp(zero - splat_f32(f32(1.702)) * g)) * (u + one))


_register("silu", _silu)
_register("gelu", _gelu)
_register("gelu_tanh", _gelu_tanh)
_register("gelu_quick", _gelu_quick)
