"""Measuring this machine: on a small scale, for speed itself is for `bench/`."""

from __future__ import annotations

import pytest

from puna.gguf import GGMLType
from puna.planner import measuring
from puna.planner.anatomy import anatomy_of
from puna.planner.measuring import calibrate
from puna.planner.roofline import predict
from tests.planner.headers import llama_8b


def test_what_is_measured_is_enough_for_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WEIGHT_BYTES": 1, "READ_BYTES": 1 << 20, "DOT_ROUNDS": 1000, "DEEP": 64, "RUNS": 1}.items():
        monkeypatch.setattr(measuring, name, value)
    monkeypatch.setattr(measuring, "TYPES", (GGMLType.Q4_0,))
    monkeypatch.setattr(measuring, "MAX_TOKENS", 64)
    told: list[str] = []
    found = calibrate(1, lambda what, _done, _total: told.append(what))
    assert "measuring kernels" in told
    assert found.is_whole
    rates = found.rates()
    for kind in (GGMLType.Q4_0, GGMLType.Q6_K, GGMLType.F16):
        speed = predict(anatomy_of(llama_8b(kind)), rates, prompt=512, context=8192, sequences=4, kv_type="q8_0")
        assert 0 < speed.decode_full < speed.decode < speed.batch
        assert speed.prefill > 0
        assert speed.joules_per_token is None
