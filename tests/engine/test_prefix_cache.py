"""What was computed before is not computed again, changes no token, and the receipt says how much and why not more."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from puna.engine import prefix_hash
from puna.engine.engine import Engine
from puna.engine.prefix_history import History, Match
from puna.engine.prefix_store import PrefixStore
from puna.engine.types import (
    CacheReceipt,
    EmbeddingEvent,
    ErrorEvent,
    Event,
    FinishedEvent,
    GenerationRequest,
    Priority,
    SamplingParams,
)
from puna.engine.types import TokenEvent as Token
from puna.models import BLOCK_SIZE
from tests.engine.toy_model import ToyModel

GREEDY = SamplingParams(temperature=0)
BUDGET = 10**8


def request(name: str, prompt: list[int], max_tokens: int = 4) -> GenerationRequest:
    return GenerationRequest(name, tuple(prompt), max_tokens, sampling=GREEDY, draft_tokens=0)


def engine(num_blocks: int = 16, store: PrefixStore | None = None, max_sequences: int = 4) -> Engine:
    model = ToyModel(num_blocks=num_blocks, max_tokens=64)
    return Engine(model, context=num_blocks * BLOCK_SIZE, max_sequences=max_sequences, prefix_store=store)


def open_store(folder: Path) -> PrefixStore:
    return PrefixStore(folder, "toy", block_bytes=ToyModel().kv_block_bytes, budget=BUDGET)


def text(seed: int, length: int) -> list[int]:
    return [(seed * 7 + i * i + seed * i) % 50 for i in range(length)]


def run(machine: Engine) -> list[Event]:
    events: list[Event] = []
    while machine.has_work:
        events += machine.step()
        machine.scheduler.check()
    return events


def ask(machine: Engine, prompt: list[int], max_tokens: int = 4) -> tuple[list[int], CacheReceipt]:
    """The answer's tokens and the receipt."""
    machine.add(request("a", prompt, max_tokens))
    events = run(machine)
    end = events[-1]
    assert isinstance(end, FinishedEvent), end
    return [event.token for event in events if isinstance(event, Token)], end.usage.cache


def computed(machine: Engine) -> int:
    assert isinstance(machine.model, ToyModel)
    return sum(map(sum, machine.model.steps))


def alone(prompt: list[int], max_tokens: int = 4) -> list[int]:
    return ask(engine(), prompt, max_tokens)[0]


def files(folder: Path) -> list[Path]:
    return sorted((folder / "toy").glob("*"))


def test_the_second_turn_computes_only_what_is_new() -> None:
    machine = engine()
    prompt = text(1, 100)
    answer, first = ask(machine, prompt, 40)
    assert first == CacheReceipt(reason="nothing cached")
    before = computed(machine)
    turn = prompt + answer + text(2, 30)
    second_answer, second = ask(machine, turn)
    assert second.cached_tokens == 128, "the answer's own tokens are cached too, in full blocks"
    assert computed(machine) - before == len(turn) - 128 + 3
    assert second.reason == "new from token 139 on"
    assert second_answer == alone(turn)


def test_the_same_prompt_again_computes_its_last_block_only() -> None:
    machine = engine()
    for length in (64, 65, 96):
        answers = [ask(machine, text(3, length)) for _ in range(2)]
        assert answers[0][0] == answers[1][0] == alone(text(3, length))
        assert answers[1][1] == CacheReceipt((length - 1) // 32 * 32), "a token must be left to have logits"


def test_the_receipt_says_where_a_prompt_differs() -> None:
    machine = engine()
    prompt = text(1, 100)
    ask(machine, prompt)
    edited = [*prompt[:70], 49 - prompt[70], *prompt[71:]]
    answer, receipt = ask(machine, edited)
    assert receipt == CacheReceipt(64, reason="differs at token 70 from what is cached")
    assert answer == alone(edited)


def test_the_receipt_says_that_a_prefix_was_evicted() -> None:
    machine = engine(num_blocks=8)
    prompt = text(1, 100)
    ask(machine, prompt)
    ask(machine, text(2, 220))
    answer, receipt = ask(machine, prompt)
    assert receipt.reason == f"evicted from token {receipt.cached_tokens} on"
    assert receipt.cached_tokens < 96
    assert answer == alone(prompt)


def test_two_running_sequences_share_blocks_and_give_the_tokens_they_give_alone() -> None:
    machine = engine(num_blocks=10)
    shared = text(1, 130)
    ask(machine, shared)
    prompts = {f"r{i}": shared + text(i, 10) for i in range(4)}
    for name, prompt in prompts.items():
        machine.add(request(name, prompt, 20))
    machine.step()
    machine.scheduler.check()
    held = [set(sequence.block_table) for sequence in machine.scheduler.running]
    assert len(held) == 4, "without sharing the pool has room for one"
    assert len(set.intersection(*held)) == 4
    events = run(machine)
    events += machine.step()
    for name, prompt in prompts.items():
        got = [event.token for event in events if isinstance(event, Token) and event.id == name]
        assert got == alone(prompt, 20)[-len(got) :]
        assert len(got) >= 19


def test_tokens_computed_in_vain_do_not_fill_a_block() -> None:
    machine = engine()
    machine.add(request("a", text(1, 62), 10))
    machine.step()
    (sequence,) = machine.scheduler.running
    sequence.num_computed = 66  # proposed tokens were right, but the answer has ended before them
    machine.prefix_cache.record(sequence)
    assert sequence.num_registered == 1


def test_of_requests_alike_that_come_at_once_the_prompt_is_computed_once() -> None:
    machine = engine(num_blocks=32)
    for i in range(4):
        machine.add(request(f"r{i}", text(1, 50), 3))
    events = run(machine)
    assert computed(machine) == 50 + 3 * (50 - 32) + 4 * 2
    for i in range(4):
        assert [event.token for event in events if isinstance(event, Token) and event.id == f"r{i}"] == alone(
            text(1, 50), 3
        )


def test_a_preempted_sequence_takes_its_blocks_up_again() -> None:
    machine = engine(num_blocks=5, max_sequences=3)
    for i in range(3):
        machine.add(request(f"r{i}", text(i, 30), 60))
    run(machine)
    assert computed(machine) < 3 * (30 + 60) + 3 * BLOCK_SIZE, "what was preempted was computed anew"


def test_a_prompt_is_evaluated_for_the_cache_without_an_answer() -> None:
    machine = engine()
    ask(machine, text(1, 100), 0)
    assert ask(machine, text(1, 100))[1].cached_tokens == 96


def test_a_cancelled_answer_leaves_its_prefix_behind() -> None:
    machine = engine()
    machine.add(request("gone", text(1, 100), 100))
    machine.step()
    machine.step()
    machine.cancel("gone")
    machine.step()
    assert ask(machine, text(1, 100))[1].cached_tokens == 96


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "prefixes"


@pytest.fixture
def closing() -> Iterator[list[Engine]]:
    machines: list[Engine] = []
    yield machines
    for machine in machines:
        machine.close(5)


def restarted(folder: Path, closing: list[Engine], num_blocks: int = 16) -> Engine:
    """An engine that has nothing but what is on disk; those before it are closed."""
    for machine in closing:
        machine.close(5)
    closing[:] = [engine(num_blocks, open_store(folder))]
    return closing[0]


def test_a_prefix_survives_a_restart(folder: Path, closing: list[Engine]) -> None:
    prompt = text(1, 100)
    ask(restarted(folder, closing), prompt)
    machine = restarted(folder, closing)
    answer, receipt = ask(machine, prompt + text(2, 30))
    assert receipt == CacheReceipt(96, disk_tokens=96, reason="nothing cached from token 96 on")
    assert computed(machine) == 130 - 96 + 3
    assert answer == alone(prompt + text(2, 30))
    assert ask(machine, prompt)[1] == CacheReceipt(96), "now it is in memory"


def test_what_runs_in_the_background_is_cached_but_not_worth_the_disk(folder: Path, closing: list[Engine]) -> None:
    machine = restarted(folder, closing)
    machine.add(replace(request("title", text(1, 100)), priority=Priority.BACKGROUND))
    run(machine)
    machine.close(5)
    assert files(folder) == []
    machine = restarted(folder, closing)
    cached = []
    for name in ("title", "again"):
        machine.add(replace(request(name, text(1, 100)), priority=Priority.BACKGROUND))
        last = run(machine)[-1]
        assert isinstance(last, FinishedEvent)
        cached.append(last.usage.cache.cached_tokens)
    assert cached == [0, 96]


def test_a_prefix_survives_eviction_from_memory(folder: Path, closing: list[Engine]) -> None:
    machine = restarted(folder, closing, num_blocks=8)
    prompt = text(1, 200)
    ask(machine, prompt)
    while len(files(folder)) < 6:
        time.sleep(0.01)
    ask(machine, text(2, 220))
    answer, receipt = ask(machine, prompt)
    assert (receipt.cached_tokens, receipt.reason) == (192, "")
    assert receipt.disk_tokens > 0
    assert answer == alone(prompt)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "swap", "append"])
def test_a_corrupt_block_is_recomputed_and_said_and_replaced(folder: Path, closing: list[Engine], damage: str) -> None:
    prompt = text(1, 100)
    machine = restarted(folder, closing)
    ask(machine, prompt)
    machine.close(5)
    keys: list[bytes] = []
    prefix_hash.extend(keys, prompt, BLOCK_SIZE, 3)
    path, other = (folder / "toy" / key.hex() for key in keys[1:])
    content = path.read_bytes()
    damaged = {
        "flip": content[:100] + bytes([content[100] ^ 1]) + content[101:],
        "truncate": content[:-1],
        "empty": b"",
        "swap": other.read_bytes(),
        "append": content + b"\0",
    }
    path.write_bytes(damaged[damage])
    machine = restarted(folder, closing)
    answer, receipt = ask(machine, prompt)
    assert (receipt.cached_tokens, receipt.reason) == (32, "corrupt block on disk: recomputed")
    assert any("corrupt" in warning for warning in receipt.warnings)
    assert answer == alone(prompt)
    assert ask(restarted(folder, closing), prompt)[1] == CacheReceipt(96, disk_tokens=96)


def test_a_folder_that_cannot_be_written_is_said_and_answers_go_on(tmp_path: Path, closing: list[Engine]) -> None:
    (tmp_path / "prefixes").write_text("a file where the folder should be")
    machine = restarted(tmp_path / "prefixes", closing)
    first, _ = ask(machine, text(1, 100))
    assert first == alone(text(1, 100))
    warnings: tuple[str, ...] = ()
    for seed in range(2, 100):
        warnings = ask(machine, text(seed, 40))[1].warnings
        if any("written" in warning for warning in warnings):
            break
        time.sleep(0.02)
    assert any("cannot be written" in warning for warning in warnings)


def test_blocks_of_a_long_prefix_come_over_several_steps_and_chats_go_on_meanwhile(
    folder: Path, closing: list[Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = text(1, 330)
    ask(restarted(folder, closing), prompt)
    monkeypatch.setattr("puna.engine.prefix_cache.FETCH_BYTES", 2 * ToyModel().kv_block_bytes)
    machine = restarted(folder, closing)
    machine.add(request("chat", [1, 2, 3], 30))
    machine.step()
    machine.add(request("long", prompt, 1))
    events: list[Event] = []
    for _ in range(4):
        events += machine.step()
        machine.scheduler.check()
    assert [event.id for event in events] == ["chat"] * 4
    end = next(e for e in events + run(machine) if isinstance(e, FinishedEvent) and e.id == "long")
    assert end.usage.cache == CacheReceipt(320, disk_tokens=320)


class CacheMachine(RuleBasedStateMachine):
    """Prompts with common beginnings on a small pool, with a disk, restarts and damage: everybody's own tokens."""

    @initialize(num_blocks=st.integers(5, 9))
    def build(self, num_blocks: int) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.folder = Path(self.directory.name)
        self.num_blocks = num_blocks
        self.engine = engine(num_blocks, open_store(self.folder))
        self.open: dict[str, list[int]] = {}
        self.tokens: dict[str, list[int]] = {}
        self.count = 0

    @rule(first=st.integers(0, 2), split=st.integers(0, 100), second=st.integers(3, 5), rest=st.integers(1, 40))
    def add(self, first: int, split: int, second: int, rest: int) -> None:
        name = f"r{self.count}"
        self.count += 1
        self.open[name], self.tokens[name] = text(first, split) + text(second, rest), []
        self.engine.add(request(name, self.open[name], 10))

    @rule(count=st.integers(1, 10))
    def step(self, count: int) -> None:
        for _ in range(count):
            self.take(self.engine.step())

    @rule()
    def restart(self) -> None:
        self.engine.close(5)
        self.engine = engine(self.num_blocks, open_store(self.folder))
        self.open.clear()

    @rule(which=st.integers(0, 99), place=st.floats(0, 1, exclude_max=True))
    def damage(self, which: int, place: float) -> None:
        """Nothing is drawn by what is on disk: when a block gets there is its thread's affair."""
        if found := files(self.folder):
            path = found[which % len(found)]
            content = path.read_bytes() if path.exists() else b""
            if content:
                at = int(place * len(content))
                path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])

    def take(self, events: list[Event]) -> None:
        for event in events:
            assert not isinstance(event, ErrorEvent | EmbeddingEvent), event
            if isinstance(event, Token):
                self.tokens[event.id].append(event.token)
            else:
                prompt = self.open.pop(event.id)
                assert self.tokens[event.id] == alone(prompt, 10)
                assert event.usage.cache.cached_tokens % BLOCK_SIZE == 0
                assert event.usage.cache.cached_tokens < len(prompt)

    @invariant()
    def books_balance(self) -> None:
        if hasattr(self, "engine"):
            self.engine.scheduler.check()

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.take(run(self.engine))
            assert not self.open, "a sequence is stuck"
            assert self.engine.block_manager.num_free == self.num_blocks, "a block has leaked"
            self.engine.close(5)
            self.directory.cleanup()


CacheMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestCacheMachine = CacheMachine.TestCase


def test_keys_stand_for_the_whole_prefix() -> None:
    one: list[bytes] = []
    other: list[bytes] = []
    prefix_hash.extend(one, [1, 2, 3, 4], 2, 2)
    prefix_hash.extend(other, [1, 9, 3, 4], 2, 2)
    assert one[1] != other[1], "the second block's tokens are alike, the first's are not"
    step: list[bytes] = []
    prefix_hash.extend(step, [1, 2, 3], 2, 1)
    prefix_hash.extend(step, [1, 2, 3, 4], 2, 2)
    assert step == one


def test_history_finds_the_nearest_and_says_whether_it_goes_on_differently() -> None:
    history = History()
    assert history.nearest([1, 2]) == Match()
    history.add([1, 2, 3])
    history.add([1, 2, 3, 4, 5])
    history.add([1, 9])
    assert history.nearest([1, 2, 3, 4, 5, 6]) == Match(5, differs=False)
    assert history.nearest([1, 2, 7]) == Match(2, differs=True)
    assert history.nearest([7]) == Match()


def test_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("puna.engine.prefix_history.MOST_TOKENS", 10)
    history = History()
    for i in range(5):
        history.add([i] * 4)
    assert history.nearest([0] * 4).length == 0
    assert history.nearest([4] * 4).length == 4
