"""How earlier runs correct predictions."""

from __future__ import annotations

from pathlib import Path

import pytest

from puna.planner import runs
from puna.planner.runs import Run


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUNA_CACHE", str(tmp_path))


def test_predictions_are_corrected_by_the_median_of_runs_alike() -> None:
    assert runs.corrections("Q4_0", 2) == (1.0, 1.0)
    for measured in (50.0, 200.0, 120.0):
        runs.note(Run("Q4_0", 2, 100.0, measured, 10.0, 8.0))
    runs.note(Run("F16", 2, 100.0, 1.0, 10.0, 1.0))
    assert runs.corrections("Q4_0", 2) == (1.2, 0.8)
    runs.forget()
    assert runs.noted() == []


def test_lines_that_another_version_wrote_are_passed_over(tmp_path: Path) -> None:
    runs.note(Run("Q4_0", 2, 100.0, 110.0, 10.0, 8.0))
    path = tmp_path / "planner" / "runs.jsonl"
    path.write_text('{"types": "Q4_0"}\nnot JSON\n' + path.read_text())
    assert runs.corrections("Q4_0", 2) == (1.1, 0.8)
