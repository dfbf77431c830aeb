"""The runner as a process of its own: started, killed, cancelled, closed.

With the toy model, so it is quick.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from puna.engine.engine import Engine
from puna.engine.process import RunnerProcess
from puna.engine.protocol import Submit, encode
from puna.engine.types import ErrorEvent, Event, FinishedEvent, GenerationRequest, SamplingParams, TokenEvent
from puna.errors import InvalidRequest, RunnerDied, UnsupportedModel
from tests.engine.toy_model import ToyModel

SEEDED = SamplingParams(seed=1)
PATIENCE = 30.0  # seconds; nothing here takes more than a few


def command(*behaviour: str) -> list[str]:
    return [sys.executable, "-m", "tests.engine.toy_runner", *behaviour]


def request(request_id: str, length: int = 5, max_tokens: int = 500) -> GenerationRequest:
    return GenerationRequest(request_id, tuple(range(length)), max_tokens, sampling=SEEDED)


class Sink:
    """Keeps the events of one request for the test's thread."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def __call__(self, event: Event) -> None:
        self._events.put(event)

    def next(self) -> Event:
        return self._events.get(timeout=PATIENCE)

    def last(self) -> Event:
        while isinstance(event := self.next(), TokenEvent):
            pass
        return event

    def tokens(self) -> list[int]:
        found: list[int] = []
        while isinstance(event := self.next(), TokenEvent):
            found.append(event.token)
        return found


@pytest.fixture(autouse=True)
def _toy_runner_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)


@pytest.fixture
def runner() -> Iterator[RunnerProcess]:
    with RunnerProcess(command()) as started:
        yield started


def wait_for_death(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the process lives on"
        time.sleep(0.02)


def test_requests_at_once_get_the_tokens_they_get_in_process(runner: RunnerProcess) -> None:
    asked = [request(f"r{i}", 3 + 9 * i, 12) for i in range(6)]
    sinks = {one.id: Sink() for one in asked}
    for one in asked:
        runner.submit(one, sinks[one.id])
    for one in asked:
        engine = Engine(ToyModel(num_blocks=32), context=1000, max_sequences=4)
        engine.add(one)
        expected: list[Event] = []
        while engine.has_work:
            expected += engine.step()
        assert sinks[one.id].tokens() == [e.token for e in expected if isinstance(e, TokenEvent)], one.id


def test_progress_comes_before_it_is_loaded() -> None:
    seen: list[tuple[str, int, int]] = []
    with RunnerProcess(command(), on_progress=lambda *step: seen.append(step)) as runner:
        assert seen == [("compiling", 1, 2), ("compiling", 2, 2)]
        assert (runner.loaded.vocab_size, runner.loaded.context, runner.loaded.num_blocks) == (50, 1000, 32)
        assert runner.alive
        assert runner.pid != os.getpid()


def test_kill_9_in_mid_answer_ends_every_open_request_with_a_clear_error(runner: RunnerProcess) -> None:
    sinks = [Sink(), Sink()]
    for i, sink in enumerate(sinks):
        runner.submit(request(f"r{i}"), sink)
    assert isinstance(sinks[0].next(), TokenEvent)
    os.kill(runner.pid, signal.SIGKILL)
    for sink in sinks:
        event = sink.last()
        assert isinstance(event, ErrorEvent)
        assert isinstance(event.exception(), RunnerDied)
        assert f"pid {runner.pid}" in event.message
        assert "SIGKILL" in event.message
    assert not runner.alive
    with pytest.raises(RunnerDied, match="SIGKILL"):
        runner.submit(request("late"), Sink())
    runner.cancel("r0")


def test_after_a_death_the_next_runner_works() -> None:
    with RunnerProcess(command()) as first:
        os.kill(first.pid, signal.SIGKILL)
    with RunnerProcess(command()) as second:
        sink = Sink()
        second.submit(request("a", max_tokens=3), sink)
        assert len(sink.tokens()) == 3


def test_a_crash_says_why_in_the_error() -> None:
    with RunnerProcess(command("fire")) as runner:
        sink = Sink()
        runner.submit(request("a"), sink)
        event = sink.last()
        assert isinstance(event, ErrorEvent)
        assert "ended with status 1" in event.message
        assert "the kernel on fire" in event.message


def test_cancel_ends_one_request_within_a_step_and_leaves_the_other(runner: RunnerProcess) -> None:
    one, other = Sink(), Sink()
    runner.submit(request("one"), one)
    runner.submit(request("other", max_tokens=30), other)
    for _ in range(3):
        assert isinstance(one.next(), TokenEvent)
    runner.cancel("one")
    rest: list[Event] = []
    while not rest or isinstance(rest[-1], TokenEvent):
        rest.append(one.next())
    end = rest[-1]
    assert isinstance(end, FinishedEvent)
    assert end.reason == "cancelled"
    assert len(rest) <= 6, "it went on for more than the steps that were under way"
    assert len(other.tokens()) == 30


def test_a_request_the_engine_refuses_is_an_error_of_its_own_type(runner: RunnerProcess) -> None:
    sink = Sink()
    runner.submit(request("long", 30, 10_000), sink)
    runner.cancel("long")
    assert isinstance(sink.last(), FinishedEvent)
    runner.submit(GenerationRequest("outside", (99,)), sink)
    event = sink.next()
    assert isinstance(event, ErrorEvent)
    assert type(event.exception()) is InvalidRequest


def test_an_open_id_is_refused_in_the_parent(runner: RunnerProcess) -> None:
    sink = Sink()
    runner.submit(request("a", max_tokens=5), sink)
    with pytest.raises(InvalidRequest, match="still open"):
        runner.submit(request("a"), Sink())
    assert len(sink.tokens()) == 5


def test_prints_of_libraries_do_not_corrupt_the_protocol() -> None:
    with RunnerProcess(command("noisy")) as runner:
        sink = Sink()
        runner.submit(request("a", max_tokens=5), sink)
        assert len(sink.tokens()) == 5


def test_an_error_while_loading_is_raised_as_its_own_type() -> None:
    with pytest.raises(UnsupportedModel, match="'toy' is not one of llama"):
        RunnerProcess(command("unsupported"))


def test_a_crash_while_loading_says_why() -> None:
    with pytest.raises(RunnerDied, match="out of cheese"):
        RunnerProcess(command("crash"))


def test_something_else_on_the_pipe_is_an_error_not_a_hang() -> None:
    with pytest.raises(RunnerDied, match="does not speak the protocol"):
        RunnerProcess([sys.executable, "-c", "print('hello')"])


LIAR = """
import sys, time
print('{"kind":"Loaded","vocab_size":1,"context":1,"num_blocks":1,"load_seconds":0}', flush=True)
sys.stdin.readline()
print(%r, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("line", ["gibberish", '{"kind":"TokenEvent","id":"other","token":1}'])
def test_a_runner_that_talks_nonsense_is_ended_and_its_requests_told(line: str) -> None:
    with RunnerProcess([sys.executable, "-c", LIAR % line]) as runner:
        sink = Sink()
        runner.submit(GenerationRequest("a", (0,)), sink)
        event = sink.last()
        assert isinstance(event, ErrorEvent)
        assert "does not speak the protocol" in event.message
        assert not runner.alive


def test_ctrl_c_in_the_terminal_does_not_reach_the_runner(runner: RunnerProcess) -> None:
    sink = Sink()
    runner.submit(request("a", max_tokens=10), sink)
    sink.next()
    os.kill(runner.pid, signal.SIGINT)
    assert len(sink.tokens()) == 9


def test_close_ends_the_process_and_its_requests_and_may_be_repeated(runner: RunnerProcess) -> None:
    sink = Sink()
    runner.submit(request("a"), sink)
    sink.next()
    started = time.monotonic()
    runner.close()
    runner.close()
    assert time.monotonic() - started < 4
    assert not psutil.pid_exists(runner.pid)
    event = sink.last()
    assert isinstance(event, ErrorEvent)
    assert "closed" in event.message
    with pytest.raises(RunnerDied, match="closed"):
        runner.submit(request("b"), Sink())


def test_close_from_a_sink_does_not_wait_for_itself(runner: RunnerProcess) -> None:
    closed = threading.Event()

    def close(event: Event) -> None:
        if isinstance(event, TokenEvent):
            runner.close()
            closed.set()

    runner.submit(request("a"), close)
    assert closed.wait(PATIENCE)
    assert not psutil.pid_exists(runner.pid)


def test_close_is_bounded_even_if_the_runner_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("puna.engine.process.CLOSE_SECONDS", 0.3)
    with RunnerProcess(command()) as runner:
        sink = Sink()
        runner.submit(request("a"), sink)
        os.kill(runner.pid, signal.SIGSTOP)
        flood = threading.Thread(target=submit_many, args=(runner, sink))
        flood.start()  # fills the pipe and gets stuck in it
        time.sleep(0.2)
        started = time.monotonic()
        runner.close()
        assert time.monotonic() - started < 4
        flood.join(PATIENCE)
        assert not flood.is_alive()


def submit_many(runner: RunnerProcess, sink: Sink) -> None:
    with contextlib.suppress(RunnerDied):
        for i in range(99):
            runner.submit(request(f"{i}", 900), sink)


def test_a_sink_that_fails_is_logged_and_cancelled_and_harms_nobody(
    runner: RunnerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise ValueError(f"no appetite for {event}")

    sink = Sink()
    runner.submit(request("broken"), broken)
    runner.submit(request("a", max_tokens=20), sink)
    assert len(sink.tokens()) == 20
    assert "the sink of request broken failed" in caplog.text
    again = Sink()
    runner.submit(request("broken", max_tokens=2), again)  # its id is free again
    assert len(again.tokens()) == 2


PARENT = """
    import sys, time
    from puna.engine.process import RunnerProcess
    from puna.engine.types import GenerationRequest

    runner = RunnerProcess([sys.executable, "-m", "tests.engine.toy_runner"])
    runner.submit(GenerationRequest("a", (1,), 500), lambda event: None)
    print(runner.pid, flush=True)
    time.sleep(600)
"""


def test_a_parent_that_is_killed_leaves_no_runner_behind() -> None:
    code = textwrap.dedent(PARENT)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        wait_for_death(pid)


def test_a_parent_that_dies_while_the_runner_loads_leaves_none_behind() -> None:
    process = subprocess.Popen(command("forever"), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    process.stdout.close()


def test_a_garbled_command_ends_the_runner_with_a_message() -> None:
    process = subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    _, errors = process.communicate(encode(Submit(request("a"))) + b"{nonsense\n", timeout=PATIENCE)
    assert process.returncode == 1
    assert b"not a message" in errors


def test_the_real_runner_says_that_a_file_is_missing(tmp_path: Path) -> None:
    from puna.errors import PunaError

    with pytest.raises(PunaError):
        RunnerProcess.start(tmp_path / "none.gguf", threads=1, context=64, max_sequences=1)
