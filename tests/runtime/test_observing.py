"""Served answers correct later predictions: cria on a real runner."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from puna import paths
from puna.planner import calibration, runs
from puna.planner.calibration import Limits
from puna.runtime import CompletionRequest, Finished, Options, Runtime
from puna.store import Store

TEXT = " ".join(f"word number {i}" for i in range(60))


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner's folder of the test's own; the runners keep their kernels."""
    monkeypatch.setattr(paths, "cache_dir", lambda: tmp_path)
    limits = calibration.of_limits(Limits(read=1e10, dot=1e11), processor="a processor", threads=1)
    calibration.save(limits)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with Runtime(Store(tmp_path / "models"), threads=1, prefix_cache=0) as runtime:
        yield runtime


def ask(runtime: Runtime, tokens: int = 40, text: str = TEXT) -> CompletionRequest:
    ends = runtime.text_model("cria").tokenizer.eog_ids
    options = Options(temperature=0, max_tokens=tokens, logit_bias=dict.fromkeys(ends, -math.inf), draft_tokens=0)
    return CompletionRequest("cria", text, raw=True, options=options)


def noted(count: int) -> list[runs.Run]:
    """The runs; noting is not waited for by an answer."""
    end = time.monotonic() + 10
    while len(runs.noted()) < count and time.monotonic() < end:
        time.sleep(0.02)
    return runs.noted()


@pytest.mark.usefixtures("planned")
def test_an_answer_that_ran_alone_is_noted_as_it_was_timed(runtime: Runtime) -> None:
    *_, last = runtime.stream(ask(runtime))
    assert isinstance(last, Finished)
    (run,) = noted(1)
    assert run.prefill == last.usage.prompt_tokens / last.usage.prompt_seconds
    assert run.decode == 39 / last.usage.decode_seconds
    assert runs.corrections(run.types, 1) == (run.prefill / run.predicted_prefill, run.decode / run.predicted_decode)


@pytest.mark.usefixtures("planned")
def test_what_is_short_or_runs_beside_others_says_nothing(runtime: Runtime) -> None:
    list(runtime.stream(ask(runtime, tokens=3)))
    list(runtime.stream(ask(runtime, text="too short")))
    first = runtime.start(ask(runtime, tokens=200), lambda _: None)
    second = runtime.start(ask(runtime, tokens=200, text=TEXT[50:]), lambda _: None)
    assert first.wait(60)
    assert second.wait(60)
    runtime.close()  # waits for what is being noted
    assert runs.noted() == []


def test_a_machine_that_nobody_has_measured_is_left_alone(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "cache_dir", lambda: tmp_path)
    list(runtime.stream(ask(runtime)))
    runtime.close()
    assert runs.noted() == []
