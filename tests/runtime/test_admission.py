"""What the server says of a model that cannot fit: numbers, and what would."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench import make_model
from puna.errors import InsufficientMemory
from puna.gguf import open_model
from puna.runtime.admission import Admission
from puna.runtime.pool import Pool, runner_starter
from puna.store import LocalModel, Store

CRIA = Store(Path("none")).resolve("cria")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    path = tmp_path_factory.mktemp("models") / "m.gguf"
    make_model.write(path, make_model.Shape("llama", 4, 512, 1024, 8, 8, 2048), "Q8_0")
    return Store(Path("none")).resolve(str(path))


def test_the_refusal_names_what_would_fit(model: LocalModel) -> None:
    admission = Admission.of(2, "f16")
    room = admission.need(model, 32768) - 1
    text = str(admission.refusal(model, 32768, room))
    assert "needs 3" in text
    assert "PUNA_KV_CACHE_TYPE=q8_0" in text
    assert "a context of 32512 tokens" in text
    assert "quantised to Q6_K" in text
    assert "take a smaller model" in str(admission.refusal(model, 512, 1_000_000))


def test_what_is_advised_is_admitted(model: LocalModel) -> None:
    admission = Admission.of(2, "f16")
    room = admission.need(model, 32768) - 1
    assert Admission.of(2, "q8_0").need(model, 32768) <= room
    assert admission.need(model, 32512) <= room


def test_a_draft_model_counts(model: LocalModel) -> None:
    admission = Admission.of(2, "f16")
    with_draft = replace(model, draft=CRIA.path, digest="0" * 64)
    assert admission.need(with_draft, 512) > admission.need(model, 512) + CRIA.size


def test_a_pool_refuses_what_the_planner_says_does_not_fit(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Admission, "available", lambda _: 50_000_000)
    start = runner_starter(threads=1, num_parallel=1, kv_type="f16", prefix_cache=0, on_progress=None, check=False)
    pool = Pool(start, max_loaded=1, keep_alive=60, gate=Admission.of(1, "f16"))
    with pytest.raises(InsufficientMemory, match="50 MB of memory are free"):
        pool.acquire(model, context=4096, keep_alive=None)
    with open_model(model.path) as file:
        assert file.tensors
