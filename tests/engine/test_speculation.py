"""Proposed tokens change the speed and nothing else: same tokens, same events, same blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.engine.engine import Engine
from puna.engine.speculation import MAX_DRAFT, MAX_ROWS, MIN_DRAFT, NGRAM, PAUSES, Pace, PromptLookup
from puna.engine.types import ErrorEvent, Event, FinishedEvent, GenerationRequest, SamplingParams, TokenEvent
from tests.engine.toy_model import ToyModel

GREEDY = SamplingParams(temperature=0)
PASSAGE = [7, 3, 9, 4, 8, 1, 6, 2, 5, 11, 12, 13]


class Parrot(ToyModel):
    """Repeats what it said twelve tokens before, unless told to be wrong after a certain number of tokens."""

    wrong_at = -1

    def _attend(self, block_table: list[int], position: int) -> NDArray[np.float64]:  # type: ignore[override]
        row = super()._attend(block_table, position)
        stored = self._cache[list(block_table)].reshape(-1)
        likely = 0 if position == self.wrong_at or position < len(PASSAGE) else stored[position + 1 - len(PASSAGE)]
        row[likely] += 100
        return row


def run(engine: Engine, *requests: GenerationRequest) -> dict[str, list[Event]]:
    events: dict[str, list[Event]] = {request.id: [] for request in requests}
    for request in requests:
        engine.add(request)
    while engine.has_work:
        for event in engine.step():
            events[event.id].append(event)
        engine.scheduler.check()
    assert engine.block_manager.num_free == engine.block_manager.num_blocks
    return events


def tokens(events: list[Event]) -> list[int]:
    return [event.token for event in events if isinstance(event, TokenEvent)]


def last(events: list[Event]) -> FinishedEvent:
    end = events[-1]
    assert isinstance(end, FinishedEvent)
    return end


def parrot(max_sequences: int = 1, **model: int) -> Engine:
    toy = Parrot(max_outputs=max_sequences + MAX_DRAFT, max_tokens=64, **model)
    return Engine(toy, context=200, max_sequences=max_sequences)


def copying(name: str, **fields: object) -> GenerationRequest:
    asked = GenerationRequest(name, tuple(PASSAGE * 2), 60, sampling=GREEDY)
    return replace(asked, **fields)  # type: ignore[arg-type]


def test_the_latest_occurrence_is_what_is_proposed() -> None:
    assert PromptLookup().propose([1, 2, 3, 4, 5, 9, 1, 2, 3, 6, 7, 1, 2, 3], 2) == [6, 7]


def test_a_text_without_repetition_proposes_nothing_not_even_its_own_end() -> None:
    lookup = PromptLookup()
    assert [lookup.propose(list(range(n)), 5) for n in range(1, 50)] == [[]] * 49


def test_a_proposal_goes_round_where_the_text_goes_round() -> None:
    assert PromptLookup().propose([8, 1, 2, 1, 2, 1], 5) == [2, 1, 2, 1, 2]


def test_a_copy_stays_with_its_source_though_the_same_words_stood_elsewhere_since() -> None:
    lookup = PromptLookup()
    text = [1, 2, 3, 4, 5, 6, 7, 8, 30, 0, 9, 9, 20, 1, 2, 3]  # begins to copy the start
    assert lookup.propose(text, 3) == [4, 5, 6]
    assert lookup.propose([*text, 4, 5], 3) == [6, 7, 8]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(1, 6))
def test_a_proposal_has_stood_after_the_same_tokens_before(text: list[int], count: int) -> None:
    lookup = PromptLookup()
    for length in range(1, len(text) + 1):
        so_far = text[:length]
        proposed = lookup.propose(so_far, count)
        places = [i for i in range(NGRAM, length) if so_far[i - NGRAM : i] == so_far[-NGRAM:]]
        assert bool(proposed) == bool(places)
        assert not proposed or any(proposed[0] == so_far[i] for i in places)


def test_the_pace_grows_with_success_and_rests_longer_after_each_failure() -> None:
    pace = Pace()
    counts = [pace.count(0)]
    for _ in range(3):
        pace.learn(counts[-1], counts[-1], 0)
        counts.append(pace.count(0))
    assert counts == [MIN_DRAFT, 7, MAX_DRAFT, MAX_DRAFT]
    pace.learn(MAX_DRAFT, 8, 0)
    assert pace.count(0) == 7
    rests = []
    length = 0
    for _ in range(8):
        pace.learn(3, 0, length)
        rests.append(next(n for n in range(10_000) if pace.count(length + n)))
        length += rests[-1]
    assert rests[:2] == [PAUSES[0], 2 * PAUSES[0]]
    assert rests[-1] == PAUSES[1]


def test_a_copy_takes_few_steps_and_the_receipt_says_so() -> None:
    plain, quick = parrot(), parrot()
    whole = run(plain, copying("a", draft_tokens=0))["a"]
    events = run(quick, copying("a"))["a"]
    assert tokens(events) == tokens(whole)
    assert isinstance(plain.model, Parrot)
    assert isinstance(quick.model, Parrot)
    assert len(quick.model.steps) * 4 < len(plain.model.steps)
    assert last(whole).usage.drafted_tokens == 0
    usage = last(events).usage
    assert 50 < usage.accepted_tokens <= usage.drafted_tokens <= 60


def test_draft_tokens_bounds_what_is_proposed_at_once() -> None:
    engine = parrot()
    run(engine, copying("a", draft_tokens=2))
    assert isinstance(engine.model, Parrot)
    assert max(sum(step) for step in engine.model.steps[1:]) == 3


def test_a_wrong_guess_costs_nothing_but_its_rows() -> None:
    class Stumbling(Parrot):
        wrong_at = 40

    def engine() -> Engine:
        return Engine(Stumbling(max_outputs=16, max_tokens=64), context=200, max_sequences=1)

    guessed = run(engine(), copying("a"))["a"]
    assert tokens(guessed) == tokens(run(engine(), copying("a", draft_tokens=0))["a"])
    assert last(guessed).usage.accepted_tokens < last(guessed).usage.drafted_tokens


def test_a_stop_token_among_the_accepted_ends_the_answer_there() -> None:
    events = run(parrot(), copying("a", stop_ids=frozenset({2})))["a"]
    assert tokens(events) == PASSAGE[: PASSAGE.index(2)]
    assert last(events).reason == "stop"


def test_many_sequences_share_the_rows_and_none_speculates_where_all_are_taken() -> None:
    engine = parrot(8, num_blocks=32)
    run(engine, *(copying(f"r{i}") for i in range(8)))
    assert isinstance(engine.model, Parrot)
    crowded = [step for step in engine.model.steps if len(step) == 8 and sum(step) <= MAX_ROWS]
    assert crowded
    assert all(max(step) == 1 for step in crowded)


def test_an_error_among_the_proposed_comes_after_the_tokens_before_it() -> None:
    class Breaking(Parrot):
        def _attend(self, block_table: list[int], position: int) -> NDArray[np.float64]:  # type: ignore[override]
            return super()._attend(block_table, position) * (np.nan if position >= 40 else 1)

    for draft in (0, None):
        engine = Engine(Breaking(max_outputs=16, max_tokens=64), context=200, max_sequences=1)
        events = run(engine, copying("a", draft_tokens=draft))["a"]
        assert len(tokens(events)) == 41 - 2 * len(PASSAGE) - 1 + 1
        assert isinstance(events[-1], ErrorEvent)


sampling = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.3, 1.0]),
    top_k=st.sampled_from([0, 2, 40]),
    repeat_penalty=st.sampled_from([1.0, 1.3]),
    repeat_last_n=st.sampled_from([-1, 16]),
    frequency_penalty=st.sampled_from([0.0, 0.4]),
    seed=st.integers(0, 100),
)
requests = st.lists(
    st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=50), st.integers(0, 60), sampling),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(
    requests,
    st.integers(4, 12),
    st.integers(8, 40),
    st.sampled_from([Parrot, ToyModel]),
    st.integers(0, 8),
)
def test_answers_with_speculation_are_those_without(
    asked: list[tuple[list[int], int, SamplingParams]],
    num_blocks: int,
    max_tokens: int,
    kind: type[ToyModel],
    spare: int,
) -> None:
    """Any sampling, penalties that look at every token, few blocks, preemption, few rows, a seed for each."""

    def answers(draft: int | None) -> list[list[int]]:
        model = kind(num_blocks=num_blocks, max_tokens=max_tokens, max_outputs=3 + spare)
        engine = Engine(model, context=118, max_sequences=3)
        events = run(
            engine,
            *(
                GenerationRequest(f"r{i}", tuple(prompt), count, frozenset({49}), params, draft_tokens=draft)
                for i, (prompt, count, params) in enumerate(asked)
            ),
        )
        return [tokens(each) for each in events.values()]

    assert answers(None) == answers(0)


def test_a_client_pays_for_what_was_proposed_and_right() -> None:
    """Else whose text repeats itself would have many times the tokens of another for the same share."""
    machine = parrot(max_sequences=2)
    machine.add(copying("copy", client="a"))
    [sequence] = machine.scheduler
    while machine.has_work:
        last_length, paid = len(sequence), machine.scheduler._shares.served("a")
        machine.step()
    assert sequence.accepted > 20
    answers = last_length - len(sequence.request.prompt) - sequence.accepted
    assert paid >= len(sequence.request.prompt) + sequence.accepted / 2 + answers
