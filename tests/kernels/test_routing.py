"""Which experts a token takes, tokens put together by expert, experts' results added up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.kernels.routing_kinds import SIGMOID, SOFTMAX, SOFTMAX_OF_CHOSEN
from tests.kernels import naive
from tests.kernels.running import EXAMPLES, THREADS, Kernels, bounds, live, normal, same_bits

GATINGS = (SOFTMAX, SIGMOID, SOFTMAX_OF_CHOSEN)


@dataclass(frozen=True, slots=True)
class Rule:
    """How experts are chosen and weighted."""

    used: int
    gating: int = SOFTMAX
    groups: int = 1
    groups_used: int = 1
    best_of_group: int = 1
    normalise: bool = False
    scale: float = 1.0


def padded(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows as wide as the kernel wants them; what fills them up must not matter."""
    width = -(-x.shape[1] // 16) * 16
    return np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=77)


def route(
    run: Kernels, rule: Rule, logits: NDArray[np.float32], bias: NDArray[np.float32] | None = None, threads: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Each row's experts and their weights."""
    rows, experts = logits.shape
    p, b = padded(logits), padded(np.zeros((1, experts), np.float32) if bias is None else bias[None])
    chosen, weights = np.full((rows, rule.used), -1), normal(1, rows, -(-rule.used // 16) * 16)
    run.run(
        "route", threads, logits=p, bias=b, scores=normal(2, rows, 2 * p.shape[1]), chosen=chosen, weights=weights,
        experts=experts, used=rule.used, gating=rule.gating, groups=rule.groups, groups_used=rule.groups_used,
        best_of_group=rule.best_of_group, normalise=int(rule.normalise), scale=rule.scale, rows=live(rows),
    )  # fmt: skip
    return chosen, weights[:, : rule.used]


def arrange(
    run: Kernels, chosen: NDArray[np.int64], parts: int, sharing: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """bounds, sources and slots."""
    rows, used = chosen.shape
    first, sources, slots = np.full(parts + 1, 77), np.full(rows * used, -1), np.full((rows, used), -1)
    run.run(
        "arrange", 2, chosen=chosen, bounds=first, sources=sources, slots=slots, parts=parts, used=used,
        sharing=used if sharing is None else sharing, rows=live(rows),
    )  # fmt: skip
    return first, sources, slots


@EXAMPLES
@given(
    threads=st.sampled_from(THREADS), rows=st.integers(1, 9), experts=st.integers(1, 70),
    gating=st.sampled_from(GATINGS), normalise=st.booleans(), biased=st.booleans(), seed=st.integers(0, 2**32),
    data=st.data(),
)  # fmt: skip
def test_route_is_the_definition(
    run: Kernels, threads: int, rows: int, experts: int, gating: int, normalise: bool, biased: bool, seed: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    rule = Rule(data.draw(st.integers(1, min(experts, 20))), gating, normalise=normalise, scale=2.5)
    logits = normal(seed, rows, experts) * np.float32(3)
    bias = normal(seed + 1, experts) * np.float32(0.1) if biased and gating == SIGMOID else None
    chosen, weights = route(run, rule, logits, bias, threads)
    expected = naive.route(logits, bias, used=rule.used, gating=gating, normalise=normalise, scale=2.5)
    assert np.array_equal(chosen, expected.chosen)
    expected.weights.check(weights)


@EXAMPLES
@given(
    groups=st.sampled_from([2, 4, 8]), size=st.integers(2, 9), gating=st.sampled_from([SOFTMAX, SIGMOID]),
    best=st.sampled_from([1, 2]), seed=st.integers(0, 2**32), data=st.data(),
)  # fmt: skip
def test_route_keeps_to_the_best_groups(
    run: Kernels, groups: int, size: int, gating: int, best: int, seed: int, data: st.DataObject
) -> None:
    kept = data.draw(st.integers(1, groups))
    rule = Rule(data.draw(st.integers(1, min(kept * size, 16))), gating, groups, kept, best)
    logits, bias = normal(seed, 5, groups * size), normal(seed + 1, groups * size) * np.float32(0.1)
    chosen, weights = route(run, rule, logits, bias)
    expected = naive.route(
        logits, bias, used=rule.used, gating=gating, groups=groups, groups_used=kept, best_of_group=best
    )
    assert np.array_equal(chosen, expected.chosen)
    expected.weights.check(weights)


def test_of_equal_experts_the_first_is_chosen_first(run: Kernels) -> None:
    chosen, weights = route(run, Rule(3), np.zeros((2, 5), np.float32))
    assert chosen.tolist() == [[0, 1, 2]] * 2
    np.testing.assert_allclose(weights, 0.2, rtol=1e-6)


@pytest.mark.parametrize("gating", GATINGS)
def test_logits_far_apart_overflow_nothing(run: Kernels, gating: int) -> None:
    chosen, weights = route(run, Rule(2, gating), np.array([[-1000, 1000, 0], [1e30, -1e30, 1e29]], np.float32))
    vanished = gating == SOFTMAX  # all probabilities but one: they are equal
    assert chosen.tolist() == ([[1, 0], [0, 1]] if vanished else [[1, 2], [0, 2]])
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("gating", GATINGS)
def test_numbers_that_are_none_choose_experts_that_exist(run: Kernels, gating: int) -> None:
    chosen, _ = route(run, Rule(4, gating), np.full((3, 20), np.nan, np.float32))
    assert ((chosen >= 0) & (chosen < 20)).all()


@EXAMPLES
@given(rows=st.integers(0, 30), parts=st.integers(1, 12), used=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_arrange_puts_the_slots_of_a_part_together_in_the_order_of_rows(
    run: Kernels, rows: int, parts: int, used: int, seed: int
) -> None:
    chosen = np.random.default_rng(seed).integers(0, parts, (rows, used))
    first, sources, slots = arrange(run, chosen, parts)
    order = np.argsort(chosen.reshape(-1), kind="stable")
    assert np.array_equal(first, bounds(*np.bincount(chosen.reshape(-1), minlength=parts)))
    assert np.array_equal(sources, order // used)
    assert np.array_equal(slots.reshape(-1)[order], np.arange(rows * used))


def test_arrange_of_heads_gives_each_slot_a_row_of_its_own(run: Kernels) -> None:
    first, sources, slots = arrange(run, np.tile(np.arange(3), (4, 1)), 3, sharing=1)
    assert first.tolist() == [0, 4, 8, 12]
    assert sources.tolist() == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    assert slots.tolist() == [[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]


@EXAMPLES
@given(
    threads=st.sampled_from(THREADS), rows=st.integers(1, 9), used=st.integers(1, 20), vectors=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_combine_is_the_definition_and_a_row_the_same_bits_alone(
    run: Kernels, threads: int, rows: int, used: int, vectors: int, seed: int
) -> None:
    y, before = normal(seed, rows * used, vectors * 16), normal(seed + 1, rows, vectors * 16)
    weights, slots = padded(normal(seed + 2, rows, used)), np.random.default_rng(seed).permutation(rows * used)
    slots = slots.reshape(rows, used)

    def combine(rows: slice) -> NDArray[np.float32]:
        out = before[rows].copy()
        run.run(
            "combine", threads, y=y, slots=slots[rows].copy(), weights=weights[rows].copy(), out=out, used=used,
            width=vectors * 16, rows=live(len(out)),
        )  # fmt: skip
        return out

    together = combine(slice(None))
    naive.combine(y[slots], weights[:, :used], before).check(together)
    assert same_bits(together[-1:], combine(slice(rows - 1, rows)))


@pytest.mark.parametrize("threads", THREADS)
def test_add_part_bias_adds_each_parts_own(run: Kernels, threads: int) -> None:
    x, bias, rows = normal(1, 8, 32), normal(2, 4, 32), bounds(3, 0, 4, 1)
    expected = x + bias.repeat([3, 0, 4, 1], axis=0)
    run.run("add_part_bias", threads, x=x, bias=bias, width=32, bounds=rows, parts=4)
    assert same_bits(x, expected)


@pytest.mark.parametrize("threads", THREADS)
def test_gate_by_sigmoid_is_the_definition(run: Kernels, threads: int) -> None:
    x, h, weight = normal(1, 5, 48), normal(2, 5, 32), normal(3, 32)
    expected = naive.gate_by_sigmoid(x, h, weight)
    run.run("gate_by_sigmoid", threads, x=x, h=h, weight=weight, width=48, h_width=32, rows=live(5))
    expected.check(x)
