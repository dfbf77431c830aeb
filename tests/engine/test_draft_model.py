"""A small model proposes; whatever it says, the answer is the large one's."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import as_file, files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna import tokenizer as tokenizers
from puna.engine.draft_model import DraftModel, check_vocabularies
from puna.engine.engine import Engine
from puna.engine.types import Event, FinishedEvent, GenerationRequest, SamplingParams, TokenEvent
from puna.errors import InvalidRequest
from puna.gguf import open_model
from tests.engine.toy_model import ToyModel

GREEDY = SamplingParams(temperature=0)


def toy(seed: int, **limits: int) -> ToyModel:
    return ToyModel(**{"seed": seed, "max_outputs": 20, "max_tokens": 60, "num_blocks": 16, **limits})


def run(requests: list[GenerationRequest], draft: DraftModel | None, **limits: int) -> tuple[list[list[Event]], Engine]:
    engine = Engine(toy(0, **limits), context=128, max_sequences=3, draft=draft)
    events: dict[str, list[Event]] = {request.id: [] for request in requests}
    for request in requests:
        engine.add(request)
    while engine.has_work:
        for event in engine.step():
            events[event.id].append(event)
        engine.scheduler.check()
    return list(events.values()), engine


def tokens(events: list[Event]) -> list[int]:
    return [event.token for event in events if isinstance(event, TokenEvent)]


def test_a_model_that_knows_the_answer_saves_most_of_the_steps() -> None:
    asked = [GenerationRequest("a", (3, 1, 4, 1, 5, 9, 2, 6), 60, sampling=GREEDY)]
    plain, slow = run([replace(asked[0], draft_tokens=0)], None)
    draft = DraftModel(toy(0), context=128)
    (events,), quick = run(asked, draft)
    assert tokens(events) == tokens(plain[0])
    assert isinstance(slow.model, ToyModel)
    assert isinstance(quick.model, ToyModel)
    assert len(quick.model.steps) * 5 < len(slow.model.steps)
    end = events[-1]
    assert isinstance(end, FinishedEvent)
    assert end.usage.accepted_tokens > 40


requests = st.lists(
    st.tuples(
        st.lists(st.integers(0, 49), min_size=1, max_size=70), st.integers(0, 50), st.sampled_from([0.0, 0.3, 1.0])
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(requests, st.sampled_from([0, 7]), st.integers(2, 16), st.integers(4, 16), st.integers(4, 120))
def test_answers_are_those_without_it_and_no_block_is_lost(
    asked: list[tuple[list[int], int, float]], seed: int, draft_blocks: int, num_blocks: int, context: int
) -> None:
    """A draft model that is right or wrong, with little room or a short context; preemption in the large one."""
    wanted = [
        GenerationRequest(
            f"r{i}", tuple(prompt), count, frozenset({49}), SamplingParams(temperature=heat, seed=i, repeat_penalty=1.1)
        )
        for i, (prompt, count, heat) in enumerate(asked)
    ]
    draft = DraftModel(toy(seed, num_blocks=draft_blocks), context=min(context, draft_blocks * 32))
    found, _ = run(wanted, draft, num_blocks=num_blocks)
    expected, _ = run([replace(one, draft_tokens=0) for one in wanted], None, num_blocks=num_blocks)
    assert [tokens(events) for events in found] == [tokens(events) for events in expected]
    assert draft._block_manager.num_free == draft_blocks


def test_a_proposal_after_a_wrong_one_is_what_the_model_says_of_the_true_text() -> None:
    draft, fresh = DraftModel(toy(3), context=200), DraftModel(toy(3), context=200)
    text = [1, 2, 3]
    for wrong in range(20):
        (proposed,) = draft.propose([("a", text, 4)])
        expected: list[int] = []
        while not expected:  # a long text takes a few calls
            (expected,) = fresh.propose([("b", text, 4)])
        fresh.forget("b")
        assert proposed == expected
        text = [*text, *proposed[: wrong % 4], (proposed[wrong % 4] + 1) % 50, *proposed[wrong % 4 + 1 :]]


def test_a_vocabulary_that_differs_in_one_token_is_refused_by_name() -> None:
    with as_file(files("puna") / "data" / "cria.gguf") as path:
        tokenizer = tokenizers.load(open_model(path))
    check_vocabularies(tokenizer, tokenizer)
    pieces = [*tokenizer._pieces]
    with pytest.raises(InvalidRequest, match="it must have the same ones"):
        check_vocabularies(tokenizer, replace(tokenizer, _pieces=pieces[:-1]))
    with pytest.raises(InvalidRequest, match="special"):
        check_vocabularies(tokenizer, replace(tokenizer, special_ids=frozenset()))
    pieces[700] = b"another"
    with pytest.raises(InvalidRequest, match=r"token 700 .* b'another' in the draft model"):
        check_vocabularies(tokenizer, replace(tokenizer, _pieces=pieces))
