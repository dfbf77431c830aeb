"""Random adds, cancels and lengths on small pools: no leak, nobody stuck, everybody's tokens as if alone."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from puna.engine.engine import Engine
from puna.engine.types import (
    EmbeddingEvent,
    ErrorEvent,
    Event,
    FinishedEvent,
    GenerationRequest,
    Priority,
    SamplingParams,
    TokenEvent,
)
from puna.models import BLOCK_SIZE
from tests.engine.toy_model import ToyModel

MANY_STEPS = 2000  # far more than any of these requests needs, preempted or not


def answer_alone(request: GenerationRequest, context: int) -> list[int]:
    engine = Engine(ToyModel(num_blocks=8, max_tokens=64), context=context, max_sequences=1)
    engine.add(request)
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return [event.token for event in events if isinstance(event, TokenEvent)]


class EngineMachine(RuleBasedStateMachine):
    """Drives one engine; remembers every request and what came of it."""

    @initialize(
        num_blocks=st.integers(2, 8),
        max_tokens=st.integers(4, 40),
        max_sequences=st.integers(1, 4),
        data=st.data(),
    )
    def build(self, num_blocks: int, max_tokens: int, max_sequences: int, data: st.DataObject) -> None:
        self.context = data.draw(st.integers(20, num_blocks * BLOCK_SIZE), label="context")
        model = ToyModel(num_blocks=num_blocks, max_tokens=max_tokens, max_outputs=max_sequences)
        self.engine = Engine(model, context=self.context, max_sequences=max_sequences)
        self.requests: dict[str, GenerationRequest] = {}
        self.tokens: dict[str, list[int]] = {}
        self.ended: dict[str, FinishedEvent | ErrorEvent] = {}
        self.cancelled: set[str] = set()

    @rule(
        length=st.integers(1, 120),
        first=st.integers(0, 49),
        max_tokens=st.none() | st.integers(0, 80),
        stops=st.frozensets(st.integers(0, 49), max_size=2),
        seed=st.integers(0, 5),
        priority=st.sampled_from(Priority),
        client=st.sampled_from(["", "a", "b"]),
    )
    def add(
        self,
        length: int,
        first: int,
        max_tokens: int | None,
        stops: frozenset[int],
        seed: int,
        priority: Priority,
        client: str,
    ) -> None:
        name = f"r{len(self.requests)}"
        prompt = tuple((first + i * i) % 50 for i in range(length))
        sampling = SamplingParams(temperature=1.0, seed=seed, repeat_penalty=1.1)
        self.requests[name] = GenerationRequest(
            name, prompt, max_tokens, stops, sampling, priority=priority, client=client
        )
        self.tokens[name] = []
        self.engine.add(self.requests[name])

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.requests:
            name = data.draw(st.sampled_from(sorted(self.requests)))
            if name not in self.ended:
                self.cancelled.add(name)
            self.engine.cancel(name)

    @rule(count=st.integers(1, 30))
    def step(self, count: int) -> None:
        for _ in range(count):
            self.take(self.engine.step())
            self.engine.scheduler.check()

    @rule()
    def measure(self) -> None:
        """Logits taken between two steps disturb nobody."""
        if self.engine.block_manager.num_free:
            self.engine.logits([1, 2, 3])

    def take(self, events: list[Event]) -> None:
        for event in events:
            assert event.id not in self.ended, "an event after the last one"
            if isinstance(event, TokenEvent):
                self.tokens[event.id].append(event.token)
            else:
                assert not isinstance(event, EmbeddingEvent)
                self.ended[event.id] = event

    @invariant()
    def books_balance(self) -> None:
        if hasattr(self, "engine"):
            self.engine.scheduler.check()

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        for _ in range(MANY_STEPS):
            if not self.engine.has_work:
                break
            self.take(self.engine.step())
            self.engine.scheduler.check()
        assert not self.engine.has_work, "a sequence is stuck"
        assert self.engine.block_manager.num_free == self.engine.block_manager.num_blocks, "a block has leaked"
        for name, request in self.requests.items():
            self.check_outcome(request, self.ended[name])

    def check_outcome(self, request: GenerationRequest, end: FinishedEvent | ErrorEvent) -> None:
        room = self.context - len(request.prompt)
        wanted = 1 if request.max_tokens is None else min(1, request.max_tokens)
        if room < wanted:
            assert isinstance(end, ErrorEvent)
            assert end.type == "ContextOverflow"
            return
        assert isinstance(end, FinishedEvent)
        assert end.usage.completion_tokens == len(self.tokens[request.id])
        whole = answer_alone(request, self.context)
        if end.reason == "cancelled":
            assert request.id in self.cancelled
            assert self.tokens[request.id] == whole[: len(self.tokens[request.id])]
        else:
            assert self.tokens[request.id] == whole


EngineMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestEngineMachine = EngineMachine.TestCase
