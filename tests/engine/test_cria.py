"""The engine and its runner over a real model, cria, the one in the box."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import pytest

from puna import models
from puna.engine.engine import Engine
from puna.engine.process import RunnerProcess
from puna.engine.types import ErrorEvent, Event, FinishedEvent, GenerationRequest, SamplingParams, TokenEvent
from puna.errors import InvalidGGUF, RunnerDied
from puna.gguf import open_model

CONTEXT = 1024
BLOCKS = 40  # fewer than four full contexts: some must be preempted
PATIENCE = 60.0


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    with as_file(files("puna") / "data" / "cria.gguf") as found:
        yield found


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[models.Model]:
    loaded = models.load(open_model(path), threads=2, num_blocks=BLOCKS, max_outputs=4)
    yield loaded
    loaded.close()


@pytest.fixture
def runner(path: Path) -> Iterator[RunnerProcess]:
    with RunnerProcess.start(path, threads=1, context=CONTEXT, max_sequences=4) as started:
        yield started


def requests(count: int) -> list[GenerationRequest]:
    """Prompts of 3 to a few hundred tokens, each with its seed."""
    random = np.random.default_rng(0)
    lengths = [3 + 97 * i for i in range(count)]
    return [
        GenerationRequest(
            f"r{i}",
            tuple(random.integers(0, 2000, length).tolist()),
            200,
            sampling=SamplingParams(temperature=1.0, seed=i, repeat_penalty=1.1),
        )
        for i, length in enumerate(lengths)
    ]


def answers(model: models.Model, asked: list[GenerationRequest]) -> dict[str, list[int]]:
    engine = Engine(model, context=CONTEXT, max_sequences=4)
    tokens: dict[str, list[int]] = {one.id: [] for one in asked}
    for one in asked:
        engine.add(one)
    while engine.has_work:
        for event in engine.step():
            assert not isinstance(event, ErrorEvent), event
            if isinstance(event, TokenEvent):
                tokens[event.id].append(event.token)
        engine.scheduler.check()
    return tokens


def collect(events: queue.SimpleQueue[Event]) -> list[Event]:
    found = [events.get(timeout=PATIENCE)]
    while isinstance(found[-1], TokenEvent):
        found.append(events.get(timeout=PATIENCE))
    return found


def test_several_sequences_at_once_give_the_same_tokens_as_alone(model: models.Model) -> None:
    asked = requests(5)
    together = answers(model, asked)
    assert together == {one.id: answers(model, [one])[one.id] for one in asked}
    assert all(len(tokens) == 200 for tokens in together.values())


def test_the_same_seed_gives_the_same_answer_again_in_another_process(
    model: models.Model, runner: RunnerProcess
) -> None:
    asked = requests(4)
    expected = answers(model, asked)
    sinks: dict[str, queue.SimpleQueue[Event]] = {one.id: queue.SimpleQueue() for one in asked}
    for one in asked:
        runner.submit(one, sinks[one.id].put)
    for one in asked:
        events = collect(sinks[one.id])
        assert [e.token for e in events if isinstance(e, TokenEvent)] == expected[one.id]
        assert isinstance(events[-1], FinishedEvent)


def test_logits_are_the_same_bits_however_many_are_asked_for_at_once(model: models.Model) -> None:
    ids = requests(4)[-1].prompt
    engine = Engine(model, context=CONTEXT, max_sequences=1)
    whole = engine.logits(ids)
    assert whole.shape == (len(ids), model.vocab_size)
    for n in (1, 2, 31, 33, 64, len(ids)):
        greedy = GenerationRequest("a", ids[:n], 1, sampling=SamplingParams(temperature=0))
        assert answers(model, [greedy])["a"] == [int(whole[n - 1].argmax())]
        assert np.array_equal(engine.logits(ids[:n])[-1], whole[n - 1])


def test_kill_9_in_mid_answer_is_a_clear_error_and_the_next_runner_works(path: Path, runner: RunnerProcess) -> None:
    asked = GenerationRequest("a", (1, 2, 3), max_tokens=CONTEXT - 3)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    runner.submit(asked, events.put)
    assert isinstance(events.get(timeout=PATIENCE), TokenEvent)
    os.kill(runner.pid, signal.SIGKILL)
    end = collect(events)[-1]
    assert isinstance(end, ErrorEvent)
    assert isinstance(end.exception(), RunnerDied)
    assert "SIGKILL" in end.message
    with RunnerProcess.start(path, threads=1, context=CONTEXT, max_sequences=4) as second:
        second.submit(asked, events.put)
        end = collect(events)[-1]
        assert isinstance(end, FinishedEvent)
        assert (end.reason, end.usage.completion_tokens) == ("length", CONTEXT - 3)


def test_cancel_stops_an_answer_long_before_its_end(runner: RunnerProcess) -> None:
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    runner.submit(GenerationRequest("a", (1, 2, 3)), events.put)
    assert isinstance(events.get(timeout=PATIENCE), TokenEvent)
    runner.cancel("a")
    found = collect(events)
    end = found[-1]
    assert isinstance(end, FinishedEvent)
    assert end.reason == "cancelled"
    assert end.usage.completion_tokens == len(found) < CONTEXT - 3


def test_a_damaged_file_is_refused_with_its_own_error(path: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InvalidGGUF):
        RunnerProcess.start(damaged, threads=1, context=64, max_sequences=1)
