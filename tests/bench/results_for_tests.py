"""Made-up results, so that page and picture can be tested without a measurement."""

from __future__ import annotations

from typing import Any

from bench.results import Machine, Result

MACHINE = Machine("A processor", 8 << 30, "Linux", 2)


def speed(*, puna: list[float], llama_cpp: list[float], model: str = "llama-1.1b-Q4_0") -> Result:
    """Decode rates of the rounds; memory gives 30 GB/s and a token reads 0.6 GB."""
    limits = {"read": 30.0, "dot": 900.0}
    rounds = [
        {
            "puna": {"prefill": 300.0, "decode": ours, "decode_empty": ours, **limits},
            "llama.cpp": {"prefill": 100.0, "decode": theirs, "decode_empty": theirs, **limits},
        }
        for ours, theirs in zip(puna, llama_cpp, strict=True)
    ]
    facts: dict[str, dict[str, Any]] = {
        "puna": {"version": "puna 1", "weight_bytes": 600_000_000, "layer_weights": 1_000_000_000},
        "llama.cpp": {"version": "llama-cpp-python 2"},
    }
    return Result("speed", model, MACHINE, facts, {"ik_llama.cpp": "not given"}, rounds, date="2026-01-01")
