"""RMSNorm and LayerNorm against their definitions, of whole rows and of the heads in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.kernels.tape import Argument
from tests.kernels import naive
from tests.kernels.running import EXAMPLES, THREADS, Kernels, live, misaligned, normal

sizes = {
    "threads": st.sampled_from(THREADS),
    "rows": st.integers(1, 9),
    "width": st.integers(1, 200),
    "parts": st.integers(1, 4),
    "scale": st.sampled_from([1e-8, 1.0, 1e4]),
    "seed": st.integers(0, 2**32),
}


class Rows:
    """Rows of parts, padded with zeros, a weight and a bias for each part, and what a kernel makes of them."""

    def __init__(self, rows: int, width: int, parts: int, scale: float, seed: int) -> None:
        self.padded, self.width, self.parts = -(-width // 16) * 16, width, parts
        self.x = normal(seed, rows, parts, self.padded) * np.float32(scale)
        self.weight, self.bias = normal(seed + 1, parts, self.padded), normal(seed + 2, parts, self.padded)
        for array in (self.x, self.weight, self.bias):
            array[..., width:] = 0

    def run(
        self, run: Kernels, kernel: str, threads: int, more: dict[str, Argument], *, in_place: bool = False
    ) -> NDArray[np.float32]:
        out = self.x.copy() if in_place else normal(2, *self.x.shape)
        x = out if in_place else misaligned(self.x)
        shape: dict[str, Argument] = {"width": self.width, "padded": self.padded, "parts": self.parts}
        run.run(kernel, threads, x=x, weight=self.weight, **more, out=out, **shape, rows=live(len(out)), epsilon=1e-5)
        assert (out[..., self.width :] == 0).all()
        return out


@EXAMPLES
@given(in_place=st.booleans(), **sizes)
def test_rms_norm_is_the_definition_for_any_width(
    run: Kernels, threads: int, rows: int, width: int, parts: int, scale: float, seed: int, in_place: bool
) -> None:
    of = Rows(rows, width, parts, scale, seed)
    naive.rms_norm(of.x, of.weight, width, 1e-5).check(of.run(run, "rms_norm", threads, {}, in_place=in_place))


@EXAMPLES
@given(in_place=st.booleans(), **sizes)
def test_layer_norm_is_the_definition_for_any_width(
    run: Kernels, threads: int, rows: int, width: int, parts: int, scale: float, seed: int, in_place: bool
) -> None:
    of = Rows(rows, width, parts, scale, seed)
    expected = naive.layer_norm(of.x, of.weight, of.bias, width, 1e-5)
    expected.check(of.run(run, "layer_norm", threads, {"bias": of.bias}, in_place=in_place))


@pytest.mark.parametrize("width", [5, 16, 100])
def test_layer_norm_keeps_its_precision_far_from_zero(run: Kernels, width: int) -> None:
    """Where the mean of squares less the square of the mean would lose it."""
    of = Rows(3, width, 1, 1.0, 7)
    of.x[..., :width] += 1000
    naive.layer_norm(of.x, of.weight, of.bias, width, 1e-5).check(of.run(run, "layer_norm", 1, {"bias": of.bias}))


@pytest.mark.parametrize("kernel", ["rms_norm", "layer_norm"])
def test_zeros_stay_zeros_and_do_not_become_nan(run: Kernels, kernel: str) -> None:
    of = Rows(2, 32, 1, 0.0, 1)
    more: dict[str, Argument] = {"bias": np.zeros(32, np.float32)} if kernel == "layer_norm" else {}
    assert (of.run(run, kernel, 1, more) == 0).all()
