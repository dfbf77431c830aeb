"""What is kept of measurements of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from puna.gguf import GGMLType
from puna.planner import calibration
from puna.planner.calibration import Calibration, Limits
from puna.planner.rates import Rate


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUNA_CACHE", str(tmp_path))


def made() -> Calibration:
    layouts = {"q4_0": Rate(4e10, 6e11), "f16": Rate(5e10, 1e11)}
    return Calibration("a processor", "avx2", 2, 1.0, 5e10, 9e11, layouts, 3e10, 1e11, 1e-5)


def test_a_calibration_is_kept_and_anything_else_in_its_place_is_none() -> None:
    path = calibration.save(made())
    found = calibration.load(2)
    assert found is not None
    assert found.layouts == made().layouts
    assert calibration.load(3) is None
    path.write_text('{"version": 1}')
    assert calibration.load(2) is None


def test_rates_follow_the_limits_of_the_minute() -> None:
    now = made().rates(now=Limits(read=2.5e10, dot=9e11))
    assert now.of(GGMLType.Q4_0) == Rate(2e10, 6e11)
    assert now.of(GGMLType.F16) == Rate(2.5e10, 1e11)
    assert now.of(GGMLType.Q6_K) == now.of(GGMLType.Q4_0)  # the median of what was measured
