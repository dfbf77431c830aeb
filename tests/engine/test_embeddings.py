"""Embeddings through the engine: the same bits in any chunks and company, nothing kept, nobody delayed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import as_file, files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna import models
from puna.engine.engine import Engine
from puna.engine.types import EmbeddingEvent, EmbeddingRequest, ErrorEvent, Event, FinishedEvent, GenerationRequest
from puna.gguf import open_model
from puna.models import BLOCK_SIZE
from tests.engine.toy_model import ToyModel

TEXT = tuple(np.random.default_rng(3).integers(3, 2000, 150).tolist())


def engine(pooling: str = "mean", *, max_sequences: int = 3, context: int = 200, **limits: int) -> Engine:
    model = ToyModel(**{"max_tokens": 64, "num_blocks": 16, **limits})
    model.pooling = pooling
    return Engine(model, context=context, max_sequences=max_sequences, check=True)


def run(engine: Engine) -> list[Event]:
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def vectors(engine: Engine, *texts: tuple[int, ...]) -> list[bytes]:
    for index, text in enumerate(texts):
        engine.add(EmbeddingRequest(f"text{index}", text))
    made = {event.id: event.vector for event in run(engine) if isinstance(event, EmbeddingEvent)}
    return [made[f"text{index}"] for index in range(len(texts))]


prompts = st.lists(st.integers(0, 49), min_size=1, max_size=150).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    pooling=st.sampled_from(["mean", "cls", "last", "none"]),
    texts=st.lists(prompts, min_size=1, max_size=5),
    chats=st.lists(prompts, max_size=3),
    max_tokens=st.integers(4, 64),
    num_blocks=st.integers(7, 16),
)
def test_a_vector_is_the_same_bits_in_any_chunks_company_and_after_preemption(
    pooling: str, texts: list[tuple[int, ...]], chats: list[tuple[int, ...]], max_tokens: int, num_blocks: int
) -> None:
    alone = [vectors(engine(pooling), text)[0] for text in texts]
    shared = engine(pooling, max_tokens=max_tokens, num_blocks=num_blocks)
    for index, chat in enumerate(chats):
        shared.add(GenerationRequest(f"chat{index}", chat, 20))
    assert vectors(shared, *texts) == alone
    assert shared.block_manager.num_free == shared.block_manager.num_blocks


@pytest.mark.parametrize(("pooling", "position"), [("cls", 0), ("last", -1), ("none", -1)])
def test_pooling_takes_the_state_that_it_names(pooling: str, position: int) -> None:
    whole, one = (1, 2, 3, 4, 5), (1,) if position == 0 else (1, 2, 3, 4, 5)
    expected = vectors(engine("last"), one)[0]
    assert vectors(engine(pooling), whole)[0] == expected


def test_the_mean_is_of_all_states() -> None:
    states = [np.frombuffer(vectors(engine("last"), (7, 8, 9)[:n])[0], "<f4") for n in (1, 2, 3)]
    mean = np.frombuffer(vectors(engine("mean"), (7, 8, 9))[0], "<f4")
    assert np.linalg.norm(mean) == pytest.approx(1, abs=1e-6)
    weights, residual, *_ = np.linalg.lstsq(np.array(states, np.float64).T, mean.astype(np.float64), rcond=None)
    assert (weights > 0).all()  # a positive combination of the three unit states
    assert residual.sum() < 1e-10


def test_what_was_computed_for_a_chat_is_used_and_what_for_a_vector_is_not_kept() -> None:
    toy = ToyModel(max_tokens=64, num_blocks=16)
    toy.pooling = "last"
    shared = Engine(toy, context=200, max_sequences=3, check=True)

    def rows(text: tuple[int, ...]) -> int:
        toy.steps.clear()
        assert vectors(shared, text) == vectors(engine("last"), text)
        return sum(sum(step) for step in toy.steps)

    chat, other = tuple(i % 50 for i in range(100)), tuple((i + 7) % 49 for i in range(100))
    shared.add(GenerationRequest("chat", chat, 1))
    run(shared)
    assert [rows(chat), rows(other), rows(other)] == [100 - 3 * BLOCK_SIZE, 100, 100]


def test_texts_need_no_seat_of_a_chat() -> None:
    shared = engine(max_sequences=1, max_outputs=1)
    shared.add(GenerationRequest("chat", (1, 2, 3), 30))
    shared.step()
    for index in range(5):
        shared.add(EmbeddingRequest(f"text{index}", (index, 2, 3)))
    assert sum(isinstance(event, EmbeddingEvent) for event in shared.step()) == 5


def test_a_cancelled_text_frees_its_blocks() -> None:
    shared = engine(max_tokens=16)
    shared.add(EmbeddingRequest("text", tuple(range(40))))
    shared.step()
    shared.cancel("text")
    [event] = run(shared)
    assert isinstance(event, FinishedEvent)
    assert event.reason == "cancelled"
    assert shared.block_manager.num_free == shared.block_manager.num_blocks


def test_a_text_too_long_is_refused() -> None:
    request_engine = engine(context=2)
    request_engine.add(EmbeddingRequest("text", (1, 2, 3)))
    [event] = run(request_engine)
    assert isinstance(event, ErrorEvent)
    assert event.type == "ContextOverflow"


class NotFinite(ToyModel):
    def _state(self, block_table: Sequence[int], position: int) -> NDArray[np.float64]:
        return super()._state(block_table, position) * np.nan


def test_a_vector_that_is_not_finite_is_an_error_and_not_a_vector() -> None:
    broken = Engine(NotFinite(), context=100, max_sequences=1)
    broken.add(EmbeddingRequest("text", (1, 2, 3)))
    [event] = run(broken)
    assert isinstance(event, ErrorEvent)
    assert event.type == "InvalidLogits"


@pytest.fixture(scope="module")
def cria() -> Iterator[models.Model]:
    with as_file(files("puna") / "data" / "cria.gguf") as path:
        model = models.load(open_model(path), threads=2, num_blocks=48, max_outputs=4)
        yield model
        model.close()


def test_crias_vectors_are_the_same_bits_in_any_chunks_and_company(
    cria: models.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cria, "pooling", "mean")
    made = []
    for rows in (512, 64, 13):
        monkeypatch.setattr(cria, "max_tokens", rows)
        shared = Engine(cria, context=512, max_sequences=2)
        if rows < 512:
            shared.add(GenerationRequest("chat", TEXT[:40], 20))
        made.append(vectors(shared, TEXT, TEXT[:33], TEXT[:1]))
    assert made[0] == made[1] == made[2]
