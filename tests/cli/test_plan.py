"""`puna plan`: one answer in sentences, comparisons in a table, JSON for programs; nonsense in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from puna.cli import plan as verb
from puna.errors import InvalidRequest


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUNA_MODELS", str(tmp_path / "models"))


def test_one_model_on_one_device_is_told_in_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    verb.plan(["cria"], device=["Raspberry Pi 5"], train=1000, recompute="full")
    told = capsys.readouterr().out
    assert "Raspberry Pi 5: fits" in told
    assert "tokens/s, bound by memory" in told
    assert "3.9" in told.split("times the forward pass")[0]


def test_several_are_compared_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    verb.plan(["cria"], device=["M2", "RTX 4090"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[-2:]] == ["M2", "RTX"]
    assert "VERDICT" in lines[-3]


def test_json_has_all_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    verb.plan(["cria"], device=["M2"], context=1024, parallel=2, train=10, as_json=True)
    (found,) = json.loads(capsys.readouterr().out)
    (planned,) = found["plans"]
    parts = planned["memory"]
    assert parts["total"] == parts["weights"] + parts["kv_cache"] + parts["activations"] + parts["runtime"]
    assert planned["parallel"] == 2
    assert planned["training"]["flops"]["factor"] == 3
    assert found["layers"] > 0


def test_an_encoder_is_told_by_its_texts_and_has_no_answers(capsys: pytest.CaptureFixture[str]) -> None:
    verb.plan(["all-minilm"], device=["M2"])
    told = capsys.readouterr().out
    assert "texts     " in told
    assert "decode" not in told
    assert "context   512 tokens; at most 512" in told
    verb.plan(["all-minilm"], device=["M2"], as_json=True)
    (planned,) = json.loads(capsys.readouterr().out)[0]["plans"]
    assert planned["speed"]["decode"] is None
    assert planned["speed"]["prefill"] > 0
    verb.plan(["all-minilm", "cria"], device=["M2"])
    assert " -  " in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("all-minilm  "))


def test_devices_are_listed_with_their_marks(capsys: pytest.CaptureFixture[str]) -> None:
    verb.plan([], devices=True)
    told = capsys.readouterr().out
    assert "Dimensity 6020" in told
    assert "89.3 M" in told


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"device": ["toaster"]}, "no device is called"),
        ({"context": 1 << 60}, "tokens of context"),
        ({"context": 0}, "tokens of context"),
        ({"kv": "q3"}, "KV cache of the type"),
        ({"train": 10, "recompute": "some"}, "none, selective, full"),
        ({"train": 10, "optimizer": "sgd"}, "adamw8bit"),
        ({"train": -1}, "out of range"),
        ({"plot": Path("x.txt")}, "must end in"),
    ],
)
def test_nonsense_is_refused_in_one_line(options: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named) as caught:
        verb.plan(["cria"], **{"device": ["M2"], **options})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
