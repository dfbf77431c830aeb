"""Whose tokens go into the next step: lanes, shares of clients, and prompts that do not stall answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.engine.engine import Engine
from puna.engine.fairness import BACKGROUND_DUE, BACKGROUND_SHARE, BackgroundShare
from puna.engine.scheduler import BACKGROUND_SECONDS, STALL_SECONDS, Batch
from puna.engine.types import Event, FinishedEvent, GenerationRequest, Priority, SamplingParams, TokenEvent
from puna.models import Chunk
from tests.engine.toy_model import ToyModel

BACKGROUND = Priority.BACKGROUND
SECONDS = 0.002  # a row, in the slow model


def engine(*, context: int = 128, max_sequences: int = 4, **model: int) -> Engine:
    return Engine(ToyModel(**model), context=context, max_sequences=max_sequences, check=True)


def request(
    name: str, length: int, max_tokens: int = 8, priority: Priority = Priority.NORMAL, client: str = ""
) -> GenerationRequest:
    """A prompt unlike all others, and nothing guessed: a step has one row for each sequence that decodes."""
    prompt = tuple((sum(name.encode()) + i * i) % 50 for i in range(length))
    sampling = SamplingParams(seed=1, temperature=1.5)
    return GenerationRequest(
        name, prompt, max_tokens, sampling=sampling, draft_tokens=0, priority=priority, client=client
    )


def run(machine: Engine) -> dict[str, list[Event]]:
    events: dict[str, list[Event]] = defaultdict(list)
    while machine.has_work:
        for event in machine.step():
            events[event.id].append(event)
    return events


def tokens(events: Sequence[Event]) -> list[int]:
    return [event.token for event in events if isinstance(event, TokenEvent)]


def alone(asked: GenerationRequest) -> list[int]:
    machine = engine()
    machine.add(asked)
    return tokens(run(machine)[asked.id])


def order_of_ends(machine: Engine) -> list[str]:
    ends = []
    while machine.has_work:
        ends += [event.id for event in machine.step() if isinstance(event, FinishedEvent)]
    return ends


def running(machine: Engine) -> set[str]:
    return {sequence.id for sequence in machine.scheduler.running}


def test_what_is_in_the_background_starts_after_what_came_later_and_is_not() -> None:
    machine = engine(max_sequences=1)
    machine.add(request("title", 5, priority=BACKGROUND))
    machine.add(request("chat", 5))
    machine.add(request("chat2", 5))
    assert order_of_ends(machine) == ["chat", "chat2", "title"]


def test_the_background_runs_when_there_is_nothing_else() -> None:
    asked = request("title", 5, priority=BACKGROUND)
    machine = engine()
    machine.add(asked)
    assert tokens(run(machine)["title"]) == alone(asked)


def test_the_background_gives_its_place_to_a_newcomer_and_goes_on_afterwards() -> None:
    title, chat = request("title", 40, 20, BACKGROUND), request("chat", 40, 20)
    machine = engine(max_sequences=1)
    machine.add(title)
    events = [event for _ in range(6) for event in machine.step()]
    assert 0 < len(tokens(events)) < 20
    machine.add(chat)
    machine.step()
    assert running(machine) == {"chat"}
    rest = run(machine)
    assert tokens(events + rest["title"]) == alone(title)


def test_the_background_gives_its_blocks_to_a_newcomer() -> None:
    """Both fit the sequences but not the blocks."""
    machine = engine(max_sequences=4, num_blocks=4, max_tokens=64)
    machine.add(request("title", 90, 30, BACKGROUND))
    machine.step()
    machine.step()
    machine.add(request("chat", 60, 4))
    machine.step()
    assert running(machine) == {"chat"}
    assert order_of_ends(machine) == ["chat", "title"]


def test_the_background_is_preempted_first_though_it_is_older() -> None:
    machine = engine(max_sequences=2, num_blocks=4, max_tokens=64)
    title, chat = request("title", 30, 60, BACKGROUND), request("chat", 30, 60)
    machine.add(title)
    machine.step()
    machine.add(chat)
    events: dict[str, list[Event]] = defaultdict(list)
    gave_way = False
    while machine.has_work:
        for event in machine.step():
            events[event.id].append(event)
        gave_way |= running(machine) == {"chat"} and any(s.id == "title" for s in machine.scheduler.waiting)
        assert running(machine) != {"title"} or "chat" not in {s.id for s in machine.scheduler}
    assert gave_way, "there was room for both: this test tests nothing"
    assert tokens(events["title"])[-40:] == alone(title)[-40:]
    assert tokens(events["chat"]) == alone(chat)


def test_a_prompt_in_the_background_gets_no_rows_while_another_needs_them() -> None:
    machine = engine(max_tokens=16, num_blocks=8)
    machine.add(request("title", 60, 1, BACKGROUND))
    machine.step()
    machine.add(request("chat", 50, 1))
    assert [list(step) for step in chunks_of(machine)[:3]] == [["chat"]] * 3


def test_under_unbroken_load_the_background_moves_by_its_share_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = engine(max_tokens=32, num_blocks=24)
    rows: Counter[bool] = Counter()  # in the background or not

    def count(batch: Batch, _seconds: float) -> None:
        for sequence, chunk in batch:
            rows[sequence.in_background] += len(chunk.tokens)

    monkeypatch.setattr(machine.scheduler, "learn", count)
    machine.add(request("title", 120, 4, BACKGROUND))
    ended: list[str] = []
    for number in range(1000):
        if sum(not s.in_background for s in machine.scheduler) < 6:  # more than there are seats
            machine.add(request(f"chat{number}", 64, 0))
        elif "title" not in ended:
            ended += [event.id for event in machine.step() if isinstance(event, FinishedEvent)]
    assert "title" in ended
    assert 0.03 < rows[True] / rows[False] < 0.08


def test_a_background_is_due_for_what_it_waited_and_owes_nothing_for_when_it_was_alone() -> None:
    turn = BACKGROUND_DUE / BACKGROUND_SHARE

    def due_after(*charges: tuple[bool, float]) -> bool:
        share = BackgroundShare()
        share.enter(True)
        share.charge(True, 10_000)  # alone
        share.enter(False)
        for in_background, cost in charges:
            share.charge(in_background, cost)
        return share.due

    assert not due_after((False, turn - 1))
    assert due_after((False, turn + 1))
    assert not due_after((False, turn + 1), (True, BACKGROUND_DUE))


def test_a_client_with_many_requests_does_not_hold_up_one_with_a_single_one() -> None:
    machine = engine(max_sequences=1)
    for i in range(5):
        machine.add(request(f"many{i}", 20, client="many"))
    machine.step()
    machine.add(request("single", 20, client="single"))
    assert order_of_ends(machine) == ["many0", "single", "many1", "many2", "many3", "many4"]


def test_two_clients_with_many_requests_take_turns() -> None:
    machine = engine(max_sequences=1)
    for client in "ab":
        for i in range(4):
            machine.add(request(f"{client}{i}", 20, client=client))
    assert order_of_ends(machine) == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]


def test_a_long_prompt_of_one_client_does_not_hold_up_the_short_one_of_another() -> None:
    machine = engine(max_tokens=16, num_blocks=16)
    machine.add(request("long", 120, 1, client="a"))
    machine.step()
    machine.add(request("short", 4, 1, client="b"))
    assert order_of_ends(machine) == ["short", "long"]


def test_where_blocks_are_short_the_client_with_most_gives_way() -> None:
    machine = engine(max_sequences=3, num_blocks=5, max_tokens=64)
    for name, client in (("b0", "b"), ("a0", "a"), ("a1", "a")):
        machine.add(request(name, 30, 60, client=client))
    victims = []
    before: set[str] = set()
    while machine.has_work:
        machine.step()
        victims += sorted(before & {s.id for s in machine.scheduler.waiting})
        before = running(machine)
    assert victims[0] == "a1"


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 30)), min_size=8, max_size=20),
    max_sequences=st.integers(1, 3),
    max_tokens=st.integers(4, 40),
)
def test_while_both_wait_no_client_gets_much_more_than_the_other(
    lengths: list[tuple[int, int]], max_sequences: int, max_tokens: int
) -> None:
    """The bound of arXiv:2401.00588 (theorem 4.4), loosely: what runs at once, and a step's rows."""
    machine = engine(max_sequences=max_sequences, max_tokens=max_tokens, num_blocks=16)
    for i, (length, answer) in enumerate(lengths):
        machine.add(request(f"{i:02}", length, answer, client="ab"[i % 2]))
    bound = 2 * (max_sequences * (60 + 2 * 30) + max_tokens)
    while {sequence.request.client for sequence in machine.scheduler.waiting} == {"a", "b"}:
        machine.step()
        shares = machine.scheduler._shares
        assert abs(shares.served("a") - shares.served("b")) <= bound


class SlowModel(ToyModel):
    """Takes SECONDS a row, by a clock of its own."""

    clock = 0.0

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """As the toy does."""
        self.clock += SECONDS * sum(len(chunk.tokens) for chunk in chunks)
        return super().forward(chunks)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Engine:
    model = SlowModel(max_tokens=300, num_blocks=40)
    monkeypatch.setattr("time.perf_counter", lambda: model.clock)
    return Engine(model, context=1000, max_sequences=4, check=True)


def test_beside_an_answer_a_prompt_takes_steps_of_bounded_time_and_alone_whole_ones(slow: Engine) -> None:
    slow.add(request("chat", 300, 12))
    slow.step()
    assert machine_steps(slow)[-1] == [300]
    slow.add(request("long", 700, 1))
    slow.step()
    assert sum(machine_steps(slow)[-1]) == pytest.approx(STALL_SECONDS / SECONDS, abs=2)
    slow.cancel("chat")
    slow.step()
    assert machine_steps(slow)[-1] == [300]


def test_beside_an_answer_a_prompt_in_the_background_gets_less_than_others(slow: Engine) -> None:
    slow.add(request("chat", 300, 12))
    slow.step()
    slow.add(request("title", 300, 1, BACKGROUND))
    slow.step()
    assert sum(machine_steps(slow)[-1]) == pytest.approx(BACKGROUND_SECONDS / SECONDS, abs=2)


def test_an_answer_in_the_background_does_not_slow_down_a_prompt(slow: Engine) -> None:
    slow.add(request("title", 300, 12, BACKGROUND))
    slow.step()
    slow.add(request("chat", 600, 1))
    slow.step()
    assert sum(machine_steps(slow)[-1]) == 300


def machine_steps(machine: Engine) -> list[list[int]]:
    assert isinstance(machine.model, ToyModel)
    return machine.model.steps


def chunks_of(machine: Engine) -> list[dict[str, int]]:
    """Runs the machine; the rows each sequence had, step by step."""
    steps: list[dict[str, int]] = []
    while machine.has_work:
        before = {s.id: s.num_computed for s in machine.scheduler}
        machine.step()
        after = {s.id: s.num_computed for s in machine.scheduler}
        steps.append({i: after[i] - before[i] for i in after if i in before and after[i] > before[i]})
    return steps
