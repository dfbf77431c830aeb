"""Rows of prompts by time: learned from recent steps, never so few that prompts crawl."""

from __future__ import annotations

import pytest

from puna.engine.chunk_size import MIN_ROWS, ChunkSize


def test_before_anything_is_known_the_least_is_taken() -> None:
    assert ChunkSize().rows(0.25) == MIN_ROWS


def test_rows_fill_the_time_at_the_measured_speed() -> None:
    size = ChunkSize()
    size.learn(512, 1.5)
    assert size.rows(0.25) == pytest.approx(512 / 1.5 * 0.25, abs=1)
    assert size.rows(0.1) == pytest.approx(512 / 1.5 * 0.1, abs=1)


def test_a_slow_machine_still_gets_on_with_its_prompts() -> None:
    size = ChunkSize()
    size.learn(10, 60.0)
    assert size.rows(0.25) == MIN_ROWS


def test_a_tiny_prompt_does_not_spoil_what_large_ones_have_shown() -> None:
    """A step of 3 rows takes nearly as long as one of 12: its time for a row means little."""
    size = ChunkSize()
    size.learn(512, 1.5)
    before = size.rows(0.25)
    size.learn(3, 0.02)
    assert size.rows(0.25) >= 0.9 * before


def test_a_machine_that_slows_down_is_noticed_within_a_few_steps() -> None:
    size = ChunkSize()
    size.learn(512, 1.5)
    for _ in range(12):
        rows = size.rows(0.25)
        size.learn(rows, rows * 0.009)  # three times as slow, by deep attention, say
    assert size.rows(0.25) == pytest.approx(0.25 / 0.009, abs=2)
