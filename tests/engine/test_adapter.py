"""A request chooses one of the LoRA adapters that its model was loaded with, and finds only its own prefixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from puna.engine import EmbeddingEvent, EmbeddingRequest, ErrorEvent, Event, FinishedEvent, GenerationRequest
from puna.engine.engine import Engine
from puna.engine.loading import load_engine
from puna.engine.types import SamplingParams
from puna.errors import UnsupportedModel
from puna.gguf import open_model
from puna.models import configuration, open_adapter
from tests.models import tiny
from tests.models.test_adapters import merged, pairs, write_adapter
from tests.models.test_oracle import error

PROMPT = tuple(tiny.prompt("llama")[:40])


@contextmanager
def engine(path: Path, adapters: Sequence[Path] = (), num_blocks: int = 8) -> Iterator[Engine]:
    made = load_engine(
        path, threads=1, context=64, max_sequences=3, num_blocks=num_blocks, kv_type="f32", adapters=adapters
    )
    try:
        yield made
    finally:
        made.close(0)
        made.model.close()  # type: ignore[attr-defined]  # the engine's protocol knows no such thing


def answer_to(request_id: str, adapter: object = "") -> GenerationRequest:
    sampling = SamplingParams(temperature=0)
    return GenerationRequest(request_id, PROMPT, max_tokens=8, sampling=sampling, adapter=str(adapter))


def finish(engine: Engine) -> dict[str, list[Event]]:
    """All events of the requests that are open, by request."""
    events: dict[str, list[Event]] = {}
    while engine.has_work:
        for event in engine.step():
            events.setdefault(event.id, []).append(event)
    return events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("base") / "folder", "llama")


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    target = tmp_path_factory.mktemp("adapters")
    return [write_adapter(target / f"{seed}.gguf", pairs(folder, 4, seed), 8.0) for seed in (1, 2)]


def test_a_request_has_the_logits_of_the_adapter_it_chooses(folder: Path, adapters: list[Path], tmp_path: Path) -> None:
    with engine(merged(folder, tmp_path / "merged.gguf", pairs(folder, 4, 2), 2.0)) as alone:
        expected = alone.logits(PROMPT)
    with engine(folder, adapters) as both:
        assert error(both.logits(PROMPT, adapter=str(adapters[1])), expected) < 1e-5
        assert error(both.logits(PROMPT, adapter=str(adapters[0])), expected) > 0.01
        assert error(both.logits(PROMPT), expected) > 0.01


def test_requests_of_several_adapters_run_at_once_and_answer_as_alone(folder: Path, adapters: list[Path]) -> None:
    chosen = {"none": adapters[:0], "first": adapters[:1], "second": adapters[1:]}
    alone = {}
    for name, adapter in chosen.items():
        with engine(folder, adapter) as one:
            one.add(answer_to(name, *adapter))
            alone[name] = finish(one)[name][:-1]
    with engine(folder, adapters) as both:
        for name, adapter in chosen.items():
            both.add(answer_to(name, *adapter))
        together = {name: events[:-1] for name, events in finish(both).items()}
    assert together == alone
    assert len({str(events).replace(name, "") for name, events in alone.items()}) == 3, "the adapters change nothing"


def test_a_prefix_computed_with_another_adapter_is_not_taken_for_ones_own(folder: Path, adapters: list[Path]) -> None:
    cached = []
    with engine(folder, adapters) as both:
        for turn, adapter in enumerate(("", adapters[0], adapters[1], adapters[1], "")):
            both.add(answer_to(f"{turn}", adapter))
            last = finish(both)[f"{turn}"][-1]
            assert isinstance(last, FinishedEvent)
            cached.append((last.usage.cache.cached_tokens, last.usage.cache.reason))
    assert cached == [(0, "nothing cached")] * 3 + [(32, "")] * 2


def test_an_embedding_has_the_adapter_it_chooses(folder: Path, adapters: list[Path]) -> None:
    with engine(folder, adapters) as both:
        for name in ("", *map(str, adapters)):
            both.add(EmbeddingRequest(name or "none", PROMPT, adapter=name))
        events = [event for events in finish(both).values() for event in events]
    vectors = [np.frombuffer(event.vector, "<f4") for event in events if isinstance(event, EmbeddingEvent)]
    assert len(vectors) == 3
    assert all(vectors[a] @ vectors[b] < 0.999 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_an_adapter_that_is_not_loaded_is_refused_with_those_that_are(folder: Path, adapters: list[Path]) -> None:
    with engine(folder, adapters[:1]) as one:
        one.add(answer_to("a", adapters[1]))
        (event,) = finish(one)["a"]
    assert isinstance(event, ErrorEvent)
    assert event.type == "InvalidRequest"
    assert event.message == f"the adapter '{adapters[1]}' is not loaded; those that are: {adapters[0]}"


def test_adapters_that_add_something_else_have_other_digests(folder: Path, adapters: list[Path]) -> None:
    with open_model(folder) as file:
        opened = [open_adapter(path, configuration(file)) for path in (*adapters, adapters[0])]
    assert opened[0].digest() == opened[2].digest() != opened[1].digest()


def test_an_adapter_of_another_architecture_is_refused_when_it_is_loaded(folder: Path, tmp_path: Path) -> None:
    other = write_adapter(tmp_path / "a.gguf", pairs(folder, 4, 1), 8.0, changes={"general.architecture": "qwen2"})
    with pytest.raises(UnsupportedModel, match="an adapter of 'qwen2'"), engine(folder, [other]):
        pass
