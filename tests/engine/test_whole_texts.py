"""Models that see whole texts: each is computed in one step, whoever else is in it, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.engine.engine import Engine
from puna.engine.types import EmbeddingEvent, EmbeddingRequest, ErrorEvent, GenerationRequest, Priority
from puna.models import Chunk
from tests.engine.toy_model import WIDTH, ToyModel

CONTEXT = 60


class ToyEncoder(ToyModel):
    """Every state depends on all tokens of its chunk, in order, and on where a second text begins."""

    def __init__(self, pooling: str = "mean", **limits: int) -> None:
        super().__init__(**{"max_tokens": 64, "num_blocks": 16, **limits})
        self.causal, self.max_outputs, self.pooling = False, 0, pooling

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        assert all(chunk.start == 0 for chunk in chunks), "half a text"
        logits = super().forward([Chunk(c.tokens, 0, c.block_table, 0) for c in chunks])
        wholes = [self._state(c.block_table, len(c.tokens) - 1) + (c.second or 0) for c in chunks]
        rows = [whole + self._embedding[c.tokens[i]] for c, whole in zip(chunks, wholes, strict=True) for i in c.states]
        self._states = np.array(rows, np.float32).reshape(-1, WIDTH)
        return logits


def engine(model: ToyModel, *, max_sequences: int = 3) -> Engine:
    return Engine(model, context=CONTEXT, max_sequences=max_sequences, check=True)


def run(engine: Engine, requests: Sequence[EmbeddingRequest]) -> dict[str, bytes]:
    for request in requests:
        engine.add(request)
    made: dict[str, bytes] = {}
    while engine.has_work:
        for event in engine.step():
            assert isinstance(event, EmbeddingEvent)
            made[event.id] = event.vector
    return made


texts = st.lists(st.integers(0, 49), min_size=1, max_size=CONTEXT).map(tuple)


@settings(max_examples=80, deadline=None)
@given(
    pooling=st.sampled_from(["mean", "cls", "last", "rank"]),
    prompts=st.lists(texts, min_size=1, max_size=12),
    background=st.lists(st.booleans(), min_size=12, max_size=12),
    num_blocks=st.integers(2, 16),
)
def test_every_text_is_computed_whole_and_its_vector_is_the_same_bits_alone(
    pooling: str, prompts: list[tuple[int, ...]], background: list[bool], num_blocks: int
) -> None:
    lanes = [Priority.BACKGROUND if each else Priority.NORMAL for each in background]
    requests = [EmbeddingRequest(f"{i}", text, lanes[i]) for i, text in enumerate(prompts)]
    shared = engine(ToyEncoder(pooling, num_blocks=num_blocks))
    together = run(shared, requests)
    assert together == {r.id: run(engine(ToyEncoder(pooling)), [r])[r.id] for r in requests}
    assert shared.block_manager.num_free == num_blocks


def test_a_step_is_filled_and_a_text_that_does_not_fit_waits_for_the_next() -> None:
    model = ToyEncoder()
    run(engine(model), [EmbeddingRequest(f"{n}", tuple(range(n % 50))) for n in (30, 34, 20, 49, 5)])
    assert model.steps == [[30, 34], [20], [49, 5]]


def test_equal_texts_share_a_step() -> None:
    model = ToyEncoder("last")
    run(engine(model), [EmbeddingRequest(f"{n}", tuple(range(16))) for n in range(4)])
    assert model.steps == [[16, 16, 16, 16]]


def test_texts_that_begin_alike_do_not_wait_for_each_other_in_vain() -> None:
    model = ToyModel(max_tokens=256, num_blocks=16)
    model.pooling = "last"
    common = tuple(i % 50 for i in range(64))
    run(Engine(model, context=100, max_sequences=3), [EmbeddingRequest(f"{n}", (*common, n)) for n in range(3)])
    assert model.steps == [[65, 65, 65]]  # what is computed for a vector is not kept


def test_where_the_second_text_begins_reaches_the_model() -> None:
    made = run(engine(ToyEncoder()), [EmbeddingRequest(f"{n}", (1, 2, 3), second=n) for n in range(3)])
    assert len(set(made.values())) == 3


def test_scores_are_given_as_they_are_and_from_the_first_token() -> None:
    (vector,) = run(engine(ToyEncoder("rank")), [EmbeddingRequest("a", (7, 8, 9))]).values()
    model = ToyEncoder("rank")
    model.forward([Chunk((7, 8, 9), 0, [0], 0, range(1))])
    assert np.array_equal(np.frombuffer(vector, "<f4"), model.states()[0])


@pytest.mark.parametrize("tokens", [3, CONTEXT + 1])
def test_what_it_cannot_do_is_refused_and_texts_go_on(tokens: int) -> None:
    shared = engine(ToyEncoder())
    chat, long = GenerationRequest("chat", (1, 2, 3), 5), EmbeddingRequest("long", (1,) * tokens)
    shared.add(chat if tokens == 3 else long)
    [event] = shared.step()
    assert isinstance(event, ErrorEvent)
    assert event.type == ("UnsupportedModel" if tokens == 3 else "ContextOverflow")
    assert run(shared, [EmbeddingRequest("text", (1, 2))])
