"""A small part of `bench.cuts`: what runs on, leaks or comes out wrong when clients hang up shows up here first."""

from __future__ import annotations

from bench import cuts


def test_streams_cut_anywhere_leave_nothing_behind_and_are_taken_up_whole() -> None:
    tally = cuts.run(streams=60, clients=16, seed=1)
    assert tally.violations == []
    assert tally.outcomes["cut"] > 20
    assert tally.outcomes["taken up"] > 5
