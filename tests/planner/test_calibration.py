"""What is kept of measurements of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from puna.gguf import GGMLType
from puna.planner import calibration
from puna.planner.anatomy import anatomy_of
from puna.planner.calibration import Calibration, Limits
from puna.planner.flops import activations
from puna.planner.rates import Rate
from puna.planner.roofline import prefill_steps
from tests.planner.headers import llama_8b


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUNA_CACHE", str(tmp_path))


def made() -> Calibration:
    layouts = {"q4_0": Rate(4e10, 6e11), "f16": Rate(5e10, 1e11)}
    return Calibration("a processor", "avx2", 2, 1.0, 5e10, 9e11, layouts, 3e10, 1e11, 1e-5, 1e-10)


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
    assert made().rates(now=Limits(read=5e10, dot=4.5e11)).activation_seconds == 2e-10


def test_what_is_beside_the_products_slows_a_prompt_down() -> None:
    alone, beside = (replace(made(), activation_seconds=seconds).rates() for seconds in (0.0, 1e-10))
    anatomy = anatomy_of(llama_8b())
    fast, slow = (next(prefill_steps(anatomy, rates, 100)).seconds for rates in (alone, beside))
    assert slow - fast == pytest.approx(activations(anatomy, 100, 1) * 1e-10)
