"""Heads put together from two parts."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.running import THREADS, Kernels, live, normal, same_bits


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("second_heads", [1, 3])
def test_join_heads_takes_the_first_part_by_slot_and_the_second_of_one_head_or_of_each(
    run: Kernels, threads: int, second_heads: int
) -> None:
    first, second, out = normal(1, 15, 32), normal(2, 5, second_heads, 16), normal(3, 6, 3, 48)
    slots, beyond = np.random.default_rng(1).permutation(15).reshape(5, 3), out[-1].copy()
    run.run(
        "join_heads", threads, first=first, slots=slots, second=second, out=out, heads=3, first_width=32,
        second_width=16, second_heads=second_heads, rows=live(5),
    )  # fmt: skip
    expected = np.concatenate([first[slots], np.broadcast_to(second, (5, 3, 16))], axis=2)
    assert same_bits(out[:-1], expected)
    assert same_bits(out[-1], beyond)
