"""The sampler against its naive twin, against llama.cpp's documented semantics, and against the clock."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.engine.sampler import Sampler, largest, top_p
from puna.engine.types import SamplingParams
from puna.errors import InvalidLogits
from tests.engine import naive_sampler

Row = NDArray[np.float32]


def row(*values: float) -> Row:
    return np.array(values, np.float32)


def support(params: SamplingParams, logits: Row, history: list[int] | None = None, draws: int = 300) -> set[int]:
    sampler = Sampler(params)
    return {sampler.sample(logits, history or []) for _ in range(draws)}


values = st.one_of(
    st.integers(-4, 4).map(float),  # many ties
    st.floats(-2, 2, width=32),
    st.floats(-30, 30, width=32),
    st.just(-np.inf),
)
penalties = st.sampled_from([0.0, 0.5, -0.7, 1.5])
shares = st.one_of(st.floats(0, 1), st.integers(0, 20).map(lambda n: n / 20))
params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.01, 0.5, 1.0, 2.0]),
    top_k=st.sampled_from([-1, 0, 1, 2, 5, 40]),
    top_p=shares,
    min_p=shares,
    typical_p=shares,
    repeat_penalty=st.sampled_from([1.0, 1.3, 0.8]),
    repeat_last_n=st.sampled_from([-1, 0, 1, 3]),
    presence_penalty=penalties,
    frequency_penalty=penalties,
    logit_bias=st.lists(st.tuples(st.integers(0, 9), st.sampled_from([-np.inf, -2.5, 0.0, 7.0])), max_size=4).map(
        tuple
    ),
    seed=st.integers(0, 2**32),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(values, min_size=10, max_size=60), st.lists(st.integers(0, 9), max_size=8), params)
def test_every_step_agrees_with_its_naive_twin(
    logits: list[float], history: list[int], sampling: SamplingParams
) -> None:
    logits[-1] = 1.0  # something is always allowed
    array = np.array(logits, np.float32)
    uniform = np.random.default_rng(sampling.seed).random()
    ids, weights = Sampler(sampling).distribution(array, history)
    found = dict(zip(range(len(array)) if ids is None else ids.tolist(), weights.tolist(), strict=True))
    expected = naive_sampler.distribution(array, history, sampling)
    assert {t: w for t, w in found.items() if w} == {t: w for t, w in expected.items() if w}
    assert Sampler(sampling).sample(array, history) == naive_sampler.sample(array, history, sampling, uniform)


@given(st.integers(0, 2**32), st.integers(1, 3000), st.integers(1, 300), st.booleans())
def test_largest_is_a_full_sort_cut_off_ties_in_order_of_id(seed: int, n: int, k: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    array = random.integers(0, 5, n).astype(float) if ties else random.normal(size=n)
    assert largest(array, k).tolist() == sorted(range(n), key=lambda i: (-array[i], i))[:k]


def test_the_whole_vocabulary_is_searched_even_its_last_odd_group() -> None:
    logits = np.zeros(10_007, np.float32)
    logits[10_006] = 9
    assert support(SamplingParams(top_k=1), logits, draws=3) == {10_006}
    assert support(SamplingParams(temperature=0), logits, draws=1) == {10_006}


def test_a_wide_nucleus_is_not_cut_at_the_first_256_candidates() -> None:
    logits = np.zeros(2000, np.float32)
    assert len(support(SamplingParams(top_k=0, top_p=0.5, seed=1), logits, draws=20_000)) == 1000


def test_temperature_comes_after_top_p_as_in_llama_cpp() -> None:
    # At temperature 1 the first token alone reaches 0.6; at 10, were it applied first, three would be needed.
    assert support(SamplingParams(top_k=0, top_p=0.6, temperature=10), row(2, 1, 0, -1)) == {0}


def test_top_k_comes_before_top_p_so_the_probabilities_are_of_what_it_leaves() -> None:
    # Of all four equal tokens 0.5 is two; of the two that top_k leaves, one.
    assert support(SamplingParams(top_k=2, top_p=0.5), row(1, 1, 1, 1)) == {0}


def test_top_p_comes_before_min_p_as_in_llama_cpp() -> None:
    # 0.82 of the whole is three tokens; of what min_p would leave (0.95), it would be two.
    assert support(SamplingParams(top_p=0.82, min_p=0.2), np.log(row(0.5, 0.3, 0.15, 0.05))) == {0, 1, 2}


def test_top_p_is_reached_and_typical_p_exceeded_as_in_llama_cpp() -> None:
    assert support(SamplingParams(top_p=0.5), row(1, 1, 1, 1)) == {0, 1}
    assert support(SamplingParams(top_p=1, typical_p=0.5), row(1, 1, 1, 1)) == {0, 1, 2}


def test_min_p_is_relative_to_the_likeliest() -> None:
    logits = np.log(row(0.5, 0.3, 0.11, 0.09))
    assert support(SamplingParams(top_p=1, min_p=0.2), logits) == {0, 1, 2}


def test_typical_p_may_drop_the_likeliest_token() -> None:
    # Entropy 3.1 nats; the first token's surprise is 1.2, the others' 3.9.
    logits = np.log(row(0.3, *[0.02] * 35))
    assert 0 not in support(SamplingParams(top_k=0, top_p=1, typical_p=0.3), logits)


def test_penalties_follow_llama_cpp_signs_and_window() -> None:
    def penalised(history: list[int], **settings: float) -> int:
        params = SamplingParams(temperature=0, **settings)  # type: ignore[arg-type]
        return Sampler(params).sample(row(1.0, 0.9, -1.0, -1.1), history)

    assert penalised([0], repeat_penalty=1.2) == 1
    assert penalised([0, 3, 3], repeat_penalty=1.2, repeat_last_n=2) == 0  # 0 has left the window
    assert penalised([0, 3, 3], repeat_penalty=1.2, repeat_last_n=-1) == 1
    assert penalised([0, 3, 3], repeat_penalty=1.2, repeat_last_n=0) == 0
    assert penalised([0], presence_penalty=0.2) == 1
    assert penalised([0, 1, 1], frequency_penalty=0.2, repeat_last_n=64) == 0
    assert penalised([0, 1, 1], presence_penalty=0.2) == 0
    only_negative = Sampler(SamplingParams(temperature=0, repeat_penalty=1.5))
    assert only_negative.sample(row(-1.0, -1.2), [0]) == 1  # multiplied, not divided: it must become less likely


def test_logit_bias_bans_and_forces() -> None:
    assert support(SamplingParams(logit_bias=((0, -np.inf),)), row(50, 0, 0)) == {1, 2}
    assert support(SamplingParams(logit_bias=((2, 100.0),)), row(50, 0, 0)) == {2}
    assert support(SamplingParams(logit_bias=((2, 30.0), (2, 30.0)), temperature=0), row(50, 0, 0)) == {2}


def test_the_logits_are_left_as_they_are() -> None:
    logits = row(1, 2, 3)
    Sampler(SamplingParams(repeat_penalty=1.5, logit_bias=((0, 5.0),))).sample(logits, [2])
    assert logits.tolist() == [1, 2, 3]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "sampling",
    [
        SamplingParams(),
        SamplingParams(temperature=0),
        SamplingParams(repeat_penalty=1.1, logit_bias=((1, 3.0),)),
    ],
)
def test_nan_and_infinity_are_an_error_not_a_token(bad: float, sampling: SamplingParams) -> None:
    logits = np.zeros(1000, np.float32)
    logits[777] = bad
    with pytest.raises(InvalidLogits, match="damaged"):
        Sampler(sampling).sample(logits, [1, 2])


def test_forbidding_every_token_is_an_error() -> None:
    with pytest.raises(InvalidLogits, match="every token is forbidden"):
        Sampler(SamplingParams(logit_bias=((0, -np.inf), (1, -np.inf)))).sample(row(1, 2), [])


def test_a_tiny_temperature_is_greedy_without_overflow() -> None:
    assert support(SamplingParams(temperature=1e-320), row(1, 1.001, 0.5), draws=20) == {1}


def test_draws_follow_the_distribution() -> None:
    """Chi-squared of 20,000 draws; 11.34 is the 1 % point for 3 degrees of freedom, and the seed is fixed."""
    weights = np.array([0.4, 0.3, 0.2, 0.1])
    sampler = Sampler(SamplingParams(temperature=1, top_p=1, seed=3))
    logits = np.log(weights).astype(np.float32)
    counts = Counter(sampler.sample(logits, []) for _ in range(20_000))
    expected = weights * 20_000
    assert sum((counts[i] - expected[i]) ** 2 / expected[i] for i in range(4)) < 11.34


def test_no_seed_means_another_answer_each_time() -> None:
    logits = np.zeros(1000, np.float32)
    flat = SamplingParams(top_k=0, top_p=1)
    answers = [tuple(sampler.sample(logits, []) for _ in range(8)) for sampler in (Sampler(flat), Sampler(flat))]
    assert answers[0] != answers[1]


@pytest.mark.parametrize("seed", [0, 1, -1, 2**64 - 1, -(2**63)])
def test_a_seed_of_any_sign_gives_the_same_draws_again(seed: int) -> None:
    logits = np.zeros(1000, np.float32)
    flat = SamplingParams(top_k=0, top_p=1, seed=seed)
    assert Sampler(flat).sample(logits, []) == Sampler(flat).sample(logits, [])


def test_a_large_vocabulary_is_not_sorted_whole() -> None:
    """150k logits, Ollama's defaults with a penalty: well below 1 ms here.

    Ten times that still tells a full sort.
    """
    logits = np.random.default_rng(0).normal(size=151_936).astype(np.float32) * 3
    sampler = Sampler(SamplingParams(repeat_penalty=1.1, seed=0))
    history = list(range(64))
    best = np.inf
    for _ in range(20):
        start = time.perf_counter()
        sampler.sample(logits, history)
        best = min(best, time.perf_counter() - start)
    assert best < 5e-3


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32), size=st.integers(300, 4000), spread=st.sampled_from([0.0, 1e-3, 0.3, 3.0]),
    offset=st.sampled_from([0.0, 20.0, -1e6]), share=st.floats(0.05, 0.999), banned=st.floats(0, 0.9),
)  # fmt: skip
def test_a_wide_nucleus_is_what_a_full_sort_gives(
    seed: int, size: int, spread: float, offset: float, share: float, banned: float
) -> None:
    random = np.random.default_rng(seed)
    scores = (offset + spread * random.normal(size=size)).astype(np.float32)
    scores[random.random(size) < banned] = -np.inf
    scores[seed % size] = offset + 5 * spread
    order = np.argsort(-scores, kind="stable")
    weights = np.exp(scores - scores.max())
    sums = np.cumsum(weights[order], dtype=np.float64)
    kept = top_p(scores, share)
    assert kept is not None
    assert kept.tolist() == sorted(order[: len(kept)].tolist())  # the likeliest, equals in order of id
    assert sums[len(kept) - 1] >= share * sums[-1] * (1 - 1e-9)
    assert len(kept) == 1 or sums[len(kept) - 2] < share * sums[-1] * (1 + 1e-9)


@given(st.integers(0, 2**32), st.integers(1, 3000), st.integers(1, 300), st.floats(0.5, 1))
def test_largest_of_what_a_grammar_leaves_is_a_full_sort_cut_off(seed: int, n: int, k: int, banned: float) -> None:
    random = np.random.default_rng(seed)
    array = random.integers(0, 50, n).astype(np.float32)
    array[random.random(n) < banned] = -np.inf
    assert largest(array, k).tolist() == sorted(range(n), key=lambda i: (-array[i], i))[:k]
