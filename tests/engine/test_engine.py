"""One model, many sequences: the events, the limits, the schedule, and what happens when blocks run out."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.engine.engine import Engine
from puna.engine.types import ErrorEvent, Event, FinishedEvent, GenerationRequest, SamplingParams, TokenEvent
from puna.errors import ContextOverflow, InvalidRequest
from puna.models import BLOCK_SIZE
from tests.engine.toy_model import ToyModel

GREEDY = SamplingParams(temperature=0)


def engine(*, context: int = 128, max_sequences: int = 4, **model: int) -> Engine:
    return Engine(ToyModel(**model), context=context, max_sequences=max_sequences)


def request(
    request_id: str,
    prompt: range,
    max_tokens: int | None = 8,
    sampling: SamplingParams = GREEDY,
    *stop_ids: int,
) -> GenerationRequest:
    return GenerationRequest(request_id, tuple(t % 50 for t in prompt), max_tokens, frozenset(stop_ids), sampling)


def steps(machine: Engine) -> list[list[int]]:
    """The lengths of the chunks the model was given, step by step."""
    assert isinstance(machine.model, ToyModel)
    return machine.model.steps


def run(machine: Engine) -> dict[str, list[Event]]:
    """All events by request, checking the books after every step."""
    events: dict[str, list[Event]] = defaultdict(list)
    while machine.has_work:
        for event in machine.step():
            events[event.id].append(event)
        machine.scheduler.check()
    assert machine.block_manager.num_free == machine.block_manager.num_blocks
    return events


def tokens(events: list[Event]) -> list[int]:
    return [event.token for event in events if isinstance(event, TokenEvent)]


def finished(events: list[Event]) -> FinishedEvent:
    last = events[-1]
    assert isinstance(last, FinishedEvent), last
    return last


def alone(asked: GenerationRequest, **settings: int) -> list[int]:
    machine = engine(**settings)
    machine.add(asked)
    return tokens(run(machine)[asked.id])


def greedy_by_logits(prompt: tuple[int, ...], count: int) -> list[int]:
    """The definition: the likeliest token after everything so far, each time from scratch."""
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(np.argmax(engine().logits(ids)[-1])))
    return ids[len(prompt) :]


def test_greedy_tokens_are_those_of_the_definition() -> None:
    asked = request("a", range(40), 30)
    assert alone(asked) == greedy_by_logits(asked.prompt, 30)


def test_an_answer_ends_at_max_tokens_with_its_usage() -> None:
    machine = engine()
    machine.add(request("a", range(5), 8))
    events = run(machine)["a"]
    end = finished(events)
    assert len(tokens(events)) == 8
    assert (end.reason, end.usage.prompt_tokens, end.usage.completion_tokens) == ("length", 5, 8)
    assert min(end.usage.prompt_seconds, end.usage.decode_seconds, end.usage.queue_seconds) >= 0
    assert end.usage.prompt_seconds > 0


def test_a_stop_token_ends_the_answer_and_is_not_emitted() -> None:
    whole = alone(request("a", range(7), 30))
    stop = whole[-1]
    first = whole.index(stop)
    machine = engine()
    machine.add(request("a", range(7), 30, GREEDY, stop))
    events = run(machine)["a"]
    assert tokens(events) == whole[:first]
    assert finished(events).reason == "stop"
    assert finished(events).usage.completion_tokens == first


def test_without_max_tokens_the_answer_ends_when_the_context_is_full() -> None:
    machine = engine(context=100)
    machine.add(request("a", range(60), None))
    events = run(machine)["a"]
    assert len(tokens(events)) == 40
    assert finished(events).reason == "length"


def test_max_tokens_zero_evaluates_the_prompt_and_says_nothing() -> None:
    machine = engine(context=64)
    machine.add(request("a", range(64), 0))
    events = run(machine)["a"]
    assert tokens(events) == []
    assert finished(events).reason == "length"
    assert sum(sum(step) for step in steps(machine)) == 64


@pytest.mark.parametrize(("length", "max_tokens"), [(64, 1), (64, None), (65, 0), (1000, 5)])
def test_a_prompt_that_does_not_fit_the_context_is_an_error_event(length: int, max_tokens: int | None) -> None:
    machine = engine(context=64)
    machine.add(request("long", range(length), max_tokens))
    machine.add(request("fine", range(3)))
    events = run(machine)
    (error,) = events["long"]
    assert isinstance(error, ErrorEvent)
    assert isinstance(error.exception(), ContextOverflow)
    assert f"{length} tokens" in error.message
    assert finished(events["fine"]).reason == "length"


def test_a_token_outside_the_vocabulary_is_an_error_event() -> None:
    machine = engine()
    machine.add(GenerationRequest("a", (1, 50)))
    (error,) = run(machine)["a"]
    assert isinstance(error, ErrorEvent)
    assert type(error.exception()) is InvalidRequest


def test_an_id_still_open_is_refused_and_free_again_afterwards() -> None:
    machine = engine()
    machine.add(request("a", range(3)))
    with pytest.raises(InvalidRequest, match="still open"):
        machine.add(request("a", range(3)))
    run(machine)
    machine.add(request("a", range(3)))
    assert len(tokens(run(machine)["a"])) == 8


def test_sequences_together_give_the_same_tokens_as_alone() -> None:
    asked = [request(f"r{i}", range(i, i + 3 + 11 * i), 10, SamplingParams(seed=i, temperature=1.5)) for i in range(7)]
    machine = engine(max_sequences=3, num_blocks=12)
    for one in asked:
        machine.add(one)
    together = run(machine)
    for one in asked:
        assert tokens(together[one.id]) == alone(one), one.id


def test_a_preempted_sequence_goes_on_with_the_same_tokens() -> None:
    asked = [request(f"r{i}", range(i, i + 30), 60, SamplingParams(seed=i, temperature=1.5)) for i in range(3)]
    machine = engine(max_sequences=3, num_blocks=5)  # two to begin with, three each at the end
    for one in asked:
        machine.add(one)
    together = run(machine)
    computed = sum(sum(step) for step in steps(machine))
    assert computed > 3 * (30 + 59), "nobody was preempted: this test tests nothing"
    for one in asked:
        assert tokens(together[one.id]) == alone(one), one.id
        assert finished(together[one.id]).usage.completion_tokens == 60


def test_the_same_seed_twice_gives_the_same_answer_and_another_seed_another() -> None:
    answers = [
        alone(request("a", range(9), 20, SamplingParams(seed=seed, temperature=2, top_p=1))) for seed in (1, 1, 2)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_a_long_prompt_does_not_stall_a_running_answer() -> None:
    machine = engine(max_tokens=16, num_blocks=8)
    machine.add(request("chat", range(4), 40))
    machine.step()
    machine.add(request("long", range(100), 1))
    while machine.has_work:
        events = machine.step()
        if any(isinstance(e, FinishedEvent) for e in events):
            break
        assert [e.id for e in events].count("chat") == 1, "a step went by without a token for the chat"
    assert [sum(step) for step in steps(machine)[1:7]] == [16] * 6


def test_first_come_first_served_nobody_small_overtakes() -> None:
    machine = engine(max_sequences=4, num_blocks=4, context=128)
    machine.add(request("a", range(60), 30))  # two blocks, soon three
    machine.add(request("big", range(90), 1))  # three blocks: must wait
    machine.add(request("small", range(3), 1))  # would fit at once
    events: list[Event] = []
    while machine.has_work:
        events += machine.step()
    ends = [event.id for event in events if isinstance(event, FinishedEvent)]
    assert ends == ["a", "big", "small"]
    big = next(e for e in events if isinstance(e, FinishedEvent) and e.id == "big")
    assert big.usage.queue_seconds > 0


def test_a_pool_for_full_contexts_admits_full_contexts() -> None:
    machine = engine(max_sequences=4, num_blocks=16, context=128, max_tokens=600)
    for i in range(4):
        machine.add(request(f"r{i}", range(i, i + 127), 1))
    assert {event.id for event in machine.step()} == {"r0", "r1", "r2", "r3"}


def test_cancel_takes_effect_before_the_next_step() -> None:
    machine = engine(max_sequences=1)
    machine.add(request("running", range(3), 100))
    machine.add(request("waiting", range(3), 100))
    machine.step()
    machine.cancel("running")
    machine.cancel("waiting")
    machine.cancel("never heard of")
    assert machine.block_manager.num_free == machine.block_manager.num_blocks
    events = machine.step()
    assert [(e.id, e.reason) for e in events if isinstance(e, FinishedEvent)] == [
        ("running", "cancelled"),
        ("waiting", "cancelled"),
    ]
    assert len(events) == 2
    assert not machine.has_work
    assert len(steps(machine)) == 1


class BrokenModel(ToyModel):
    """Gives NaN wherever the first token of the prompt is 13."""

    def _attend(self, block_table: list[int], position: int) -> NDArray[np.float64]:  # type: ignore[override]
        row = super()._attend(block_table, position)
        return row * np.nan if self._cache[block_table[0], 0] == 13 else row


def test_nan_logits_are_an_error_of_that_request_alone() -> None:
    machine = Engine(BrokenModel(), context=64, max_sequences=2)
    machine.add(request("bad", range(13, 20)))
    machine.add(request("good", range(5)))
    events = run(machine)
    (error,) = events["bad"]
    assert isinstance(error, ErrorEvent)
    assert error.type == "InvalidLogits"
    assert tokens(events["good"]) == alone(request("good", range(5)))


def test_logits_of_every_token_leave_running_sequences_alone() -> None:
    machine = engine()
    asked = request("a", range(40), 20)
    machine.add(asked)
    events = machine.step() + machine.step() + machine.step()
    rows = machine.logits(range(45))
    assert rows.shape == (45, 50)
    assert rows.dtype == np.float32
    assert np.array_equal(rows[:7], engine().logits(range(7)))
    assert tokens(events + run(machine)["a"]) == alone(asked)


def test_logits_without_room_or_sense_are_refused_and_leak_nothing() -> None:
    machine = engine(num_blocks=4)
    for bad in ([], [50], [0] * 129):
        with pytest.raises(InvalidRequest):
            machine.logits(bad)
    machine.add(request("a", range(90), 5))
    machine.step()
    with pytest.raises(InvalidRequest, match="no room"):
        machine.logits([1] * (BLOCK_SIZE + 1))
    run(machine)


@pytest.mark.parametrize(("context", "max_sequences"), [(0, 1), (8 * BLOCK_SIZE + 1, 1), (8, 0), (8, 9)])
def test_an_engine_the_model_has_no_room_for_is_refused(context: int, max_sequences: int) -> None:
    with pytest.raises(InvalidRequest):
        engine(context=context, max_sequences=max_sequences)
