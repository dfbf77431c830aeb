"""Each scenario runs, on a tiny model and without peers; peers that are not there are said to be so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from bench.make_model import SHAPES, write
from bench.process import Contestant, ContestantError
from bench.results import Result
from bench.scenarios import avx2, chat, clients, copying, loading, long, sampling, server, speed
from bench.session import Options

from puna import hardware

ALONE = Options(threads=1, rounds=1, peers=())

SCENARIOS: dict[str, tuple[Callable[[Path, Options], Result], set[str]]] = {
    "speed": (partial(speed, prompt=8, generated=2), {"prefill", "decode", "decode_empty", "products"}),
    "avx2": (partial(avx2, prompt=8, generated=2), {"prefill", "decode", "decode_empty"}),
    "long": (partial(long, prompt=8, generated=2, depth=40), {"prefill", "decode"}),
    "clients": (partial(clients, count=2, prompt=8, generated=300), {"single", "batch"}),
    "chat": (partial(chat, tokens=100), {"first_turn", "second_turn", "restarted", "cached_tokens"}),
    "server": (partial(server, prompt=8, generated=40), {"first", "rate"}),
    "copying": (partial(copying, generated=20), {"plain_rate", "speculating_rate"}),
    "loading": (loading, {"seconds", "peak_bytes", "weight_bytes"}),
    "sampling": (sampling, {"step_seconds", "sample_seconds"}),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny-Q8_0.gguf"
    write(path, SHAPES["tiny"], "Q8_0")
    return path


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_measures_what_the_table_asks_for(name: str, model: Path) -> None:
    scenario, measures = SCENARIOS[name]
    if name == "avx2" and hardware.ISA.AVX2 not in hardware.supported_isas():
        pytest.skip("this processor has no AVX2")
    result = scenario(model, ALONE)
    assert (result.scenario, result.model, result.absent) == (name, "tiny-Q8_0", {})
    [round_] = result.rounds
    assert measures | {"read", "dot"} <= set(round_["puna"])
    assert all(value > 0 for key, value in round_["puna"].items() if key in measures - {"cached_tokens"})


def test_a_peer_that_is_not_there_is_noted_with_the_reason_and_the_others_go_on(model: Path) -> None:
    options = Options(threads=1, rounds=1, peers=("llama.cpp", "ik_llama.cpp"), llama_python="/no/such/python")
    result = speed(model, options, prompt=8, generated=2)
    assert "/no/such/python" in result.absent["llama.cpp"]
    assert "--ik-bench" in result.absent["ik_llama.cpp"]
    assert result.values("puna", "decode")


def test_puna_itself_failing_ends_the_scenario(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with pytest.raises(ContestantError, match="InvalidGGUF"):
        speed(broken, ALONE)


def test_a_contestant_that_dies_says_its_last_words() -> None:
    with (
        Contestant("nobody", python=sys.executable) as contestant,
        pytest.raises(ContestantError, match="No module named bench"),
    ):
        contestant.ask("load")
