from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.rag.fusion import K, fuse

KEYS = st.lists(st.sampled_from("abcdefgh"), unique=True)


def test_the_formula_of_the_paper_with_its_most_as_one() -> None:
    scores = fuse([(["a", "b"], 1.0), (["b", "c"], 1.0)])
    most = 2 / (K + 1)
    assert list(scores) == ["b", "a", "c"]
    assert scores["b"] == pytest.approx((1 / (K + 2) + 1 / (K + 1)) / most)
    assert scores["a"] == pytest.approx(1 / (K + 1) / most)


@given(KEYS, KEYS)
def test_scores_fall_and_lie_between_0_and_1(one: list[str], other: list[str]) -> None:
    scores = list(fuse([(one, 1.0), (other, 0.5)]).values())
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score <= 1 for score in scores)


@given(KEYS)
def test_one_ranking_keeps_its_order(keys: list[str]) -> None:
    assert list(fuse([(keys, 2.0)])) == keys


def test_a_ranking_without_weight_changes_nothing() -> None:
    assert list(fuse([(["a", "b"], 1.0), (["b", "a"], 0.0)])) == ["a", "b"]
    assert fuse([(["a"], 0.0)]) == {}
