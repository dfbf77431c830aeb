"""What measures the store's work ends well on little work; what it finds is what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.process import ContestantError

from bench import pull, quantizing


def test_a_killed_pull_is_finished_and_its_bytes_are_counted(tmp_path: Path) -> None:
    result = pull.run(megabytes=8, kills=1, rounds=1, seed=1, folder=tmp_path)
    assert 1.0 <= result.facts["puna"]["fetched"] < 2.0
    assert result.ratio(("puna", "speed"), ("curl", "speed_to_disk"))
    assert not list(tmp_path.iterdir())


def test_contestants_that_quantise_are_timed_on_the_same_bits() -> None:
    result = quantizing.run("Q4_0", rows=64, rounds=1)
    assert set(result.rounds[0]) == {"puna", "gguf", "ggml"}
    assert all(turn["numbers_per_second"] > 0 for turn in result.rounds[0].values())


def test_a_contestant_of_other_bits_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizing, "_ggml", lambda _: lambda rows: np.zeros(rows.size, np.uint8))
    with pytest.raises(ContestantError, match="ggml gives other bits"):
        quantizing.run("Q4_0", rows=64, rounds=1)


def test_a_type_that_there_is_not_is_told() -> None:
    with pytest.raises(ContestantError, match="Q9 is no type"):
        quantizing.run("Q9", rows=64, rounds=1)
