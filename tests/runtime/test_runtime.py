import math
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from puna import paths
from puna.chat import Message
from puna.errors import ModelNotFound, PunaError, RunnerDied
from puna.runtime import FOREVER, ChatRequest, CompletionRequest, Delta, Event, Finished, Options, Runtime
from puna.runtime.types import SinkEvent
from puna.store import Store
from tests.store.ollama_store import CRIA, add_model

GREEDY = Options(temperature=0)
# No token that ends an answer may come: it goes on until the context is full.
EOG_IDS = Runtime(Store(Path("none"))).text_model("cria").tokenizer.eog_ids
ENDLESS = Options(temperature=0, logit_bias=dict.fromkeys(EOG_IDS, -math.inf))


def ask(text: str, options: Options = GREEDY, keep_alive: float | None = None) -> ChatRequest:
    return ChatRequest("cria", (Message("user", text),), options, keep_alive=keep_alive)


def text_of(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def finished(events: list[Event]) -> Finished:
    last = events[-1]
    assert isinstance(last, Finished)
    return last


def wait_until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def test_an_answer_is_streamed_in_pieces_and_counted(runtime: Runtime) -> None:
    events = list(runtime.stream(ask("你会说中文吗")))
    last = finished(events)
    assert "会" in text_of(events)
    assert len(events) > 3
    assert last.reason == "stop"
    assert last.usage.completion_tokens == len(last.token_ids)
    assert last.usage.prompt_tokens == 14
    assert last.usage.prompt_seconds > 0
    assert last.usage.decode_seconds > 0
    assert last.usage.total_seconds >= last.usage.decode_seconds


def test_max_tokens_ends_with_length(runtime: Runtime) -> None:
    events = list(runtime.stream(ask("hi", Options(temperature=0, max_tokens=3))))
    assert finished(events).reason == "length"
    assert finished(events).usage.completion_tokens == 3


def test_zero_tokens_compute_the_prompt_only(runtime: Runtime) -> None:
    events = list(runtime.stream(ask("hi", Options(temperature=0, max_tokens=0))))
    assert text_of(events) == ""
    assert finished(events).usage.completion_tokens == 0


def test_an_answer_never_outgrows_the_context(runtime: Runtime) -> None:
    last = finished(list(runtime.stream(ask("hi", replace(ENDLESS, context_length=40)))))
    assert last.reason == "length"
    assert last.usage.prompt_tokens + last.usage.completion_tokens == 40


def test_a_stop_string_across_tokens_ends_the_answer_before_it(runtime: Runtime) -> None:
    whole = text_of(list(runtime.stream(ask("hi"))))
    stop = whole[8:13]
    events = list(runtime.stream(ask("hi", Options(temperature=0, stop=(stop,)))))
    assert text_of(events) == whole[: whole.index(stop)]
    assert finished(events).reason == "stop"


def test_a_stop_string_that_only_begins_is_not_swallowed(runtime: Runtime) -> None:
    whole = text_of(list(runtime.stream(ask("hi"))))
    events = list(runtime.stream(ask("hi", Options(temperature=0, stop=(whole[-1] + "never",)))))
    assert text_of(events) == whole


def test_a_seed_gives_the_same_answer_again(runtime: Runtime) -> None:
    options = Options(temperature=5, top_k=0, top_p=1.0, seed=7, max_tokens=30)
    first, second = (list(runtime.stream(ask("hi", options))) for _ in range(2))
    other = list(runtime.stream(ask("hi", replace(options, seed=8))))
    assert text_of(first) == text_of(second)
    assert text_of(first) != text_of(other)


def test_closing_the_iterator_cancels_the_generation(runtime: Runtime) -> None:
    stream = runtime.stream(ask("hi", ENDLESS))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert wait_until(lambda: runtime.ps()[0].open_requests == 0, 1.0)


def test_cancel_ends_within_a_few_steps_and_is_told(runtime: Runtime) -> None:
    events: queue.SimpleQueue[SinkEvent] = queue.SimpleQueue()
    generation = runtime.start(ask("hi", ENDLESS), events.put)
    for _ in range(5):
        events.get(timeout=10)
    generation.cancel()
    assert generation.wait(2)
    rest = [events.get_nowait() for _ in range(events.qsize())]
    last = rest[-1]
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"
    assert last.usage.completion_tokens < 60
    generation.cancel()  # nothing happens


def test_many_at_once_get_their_own_answers(runtime: Runtime) -> None:
    questions = ["hi", "你会说中文吗", "Who are you?", "thanks", "你好", "What can you do?"] * 2
    alone = {question: text_of(list(runtime.stream(ask(question)))) for question in set(questions)}
    answers: dict[int, str] = {}

    def run(index: int) -> None:
        answers[index] = text_of(list(runtime.stream(ask(questions[index]))))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {index: alone[question] for index, question in enumerate(questions)}


def test_a_raw_completion_continues_the_text(runtime: Runtime) -> None:
    prompt = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nHello"
    events = list(runtime.stream(CompletionRequest("cria", prompt, raw=True, options=GREEDY)))
    assert text_of(events).startswith("!")


def test_killing_the_runner_fails_its_request_and_not_the_next(runtime: Runtime) -> None:
    stream = runtime.stream(ask("hi", ENDLESS))
    next(stream)
    os.kill(runtime.ps()[0].pid, signal.SIGKILL)
    with pytest.raises(RunnerDied, match="SIGKILL"):
        list(stream)
    assert text_of(list(runtime.stream(ask("hi")))) != ""


def test_a_runner_killed_while_idle_is_replaced_unseen(runtime: Runtime) -> None:
    list(runtime.stream(ask("hi")))
    pid = runtime.ps()[0].pid
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not runtime.ps())
    assert text_of(list(runtime.stream(ask("hi")))) != ""
    assert runtime.ps()[0].pid != pid


def test_an_unknown_model_fails_before_anything_runs(runtime: Runtime) -> None:
    with pytest.raises(ModelNotFound):
        runtime.start(ChatRequest("none", (Message("user", "hi"),)), lambda _: None)


def test_a_sink_that_fails_does_not_keep_the_model_busy(runtime: Runtime) -> None:
    def broken(_: SinkEvent) -> None:
        raise ValueError("broken")

    generation = runtime.start(ask("hi", ENDLESS), broken)
    assert generation.wait(5)
    assert wait_until(lambda: runtime.ps()[0].open_requests == 0)


def test_keep_alive_zero_unloads_after_the_answer(models: Path) -> None:
    with Runtime(Store(models), threads=1) as runtime:
        list(runtime.stream(ask("hi", keep_alive=0)))
        assert wait_until(lambda: not runtime.ps())


def test_the_keep_alive_timer_starts_when_the_last_request_ends(models: Path) -> None:
    with Runtime(Store(models), threads=1, keep_alive=FOREVER) as runtime:
        runtime.load("cria")
        assert runtime.ps()[0].expires_at is None
        runtime.load("cria", keep_alive=0.5)
        [status] = runtime.ps()
        assert status.expires_at is not None
        list(runtime.stream(ask("hi")))
        assert runtime.ps()
        assert wait_until(lambda: not runtime.ps())


def test_unload_waits_for_the_open_answer(models: Path) -> None:
    with Runtime(Store(models), threads=1) as runtime:
        events: queue.SimpleQueue[SinkEvent] = queue.SimpleQueue()
        generation = runtime.start(ask("hi", Options(temperature=0)), events.put)
        assert runtime.unload("cria")
        assert generation.wait(10)
        last = None
        while not events.empty():
            last = events.get()
        assert isinstance(last, Finished)
        assert last.reason == "stop"
        assert wait_until(lambda: not runtime.ps())
        assert not runtime.unload("cria")


def test_an_idle_model_makes_room_for_another(models: Path) -> None:
    add_model(models, gguf=b"".join([Path(Store(models).resolve("cria").path).read_bytes(), b"\0"]))
    with Runtime(Store(models), threads=1, max_loaded=1) as runtime:
        runtime.load("cria")
        runtime.load("llama")
        assert [status.model.name for status in runtime.ps()] == ["llama:latest"]


def test_neither_a_smaller_context_nor_a_larger_one_reloads(models: Path) -> None:
    with Runtime(Store(models), threads=1, context_length=256) as runtime:
        runtime.load("cria")
        [status] = runtime.ps()
        assert status.context_length == 2048, "the trained context: so small a cache fits any machine"
        for context in (128, 512, 1024):
            last = finished(list(runtime.stream(ask("hi", replace(ENDLESS, context_length=context)))))
            assert last.usage.prompt_tokens + last.usage.completion_tokens == context
        assert runtime.ps()[0].pid == status.pid


def test_what_was_computed_survives_a_restart_and_the_usage_says_so(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels = paths.cache_dir() / "kernels"
    monkeypatch.setenv("PUNA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    question = "Please tell me everything that you know about yourself. " * 6
    receipts = []
    for _ in range(2):
        with Runtime(Store(models), threads=1, prefix_cache=10**8) as runtime:
            receipts += [finished(list(runtime.stream(ask(question)))).usage.cache for _ in range(2)]
    first, again, restarted, last = receipts
    assert (first.cached_tokens, first.reason) == (0, "nothing cached")
    assert again.cached_tokens == restarted.cached_tokens == last.cached_tokens > 32
    assert (again.disk_tokens, restarted.disk_tokens, last.disk_tokens) == (0, again.cached_tokens, 0)


def test_several_first_requests_load_the_model_once(models: Path) -> None:
    loads: list[str] = []
    with Runtime(Store(models), threads=1, on_progress=lambda what, done, _: loads.append(f"{what}{done}")) as runtime:
        threads = [threading.Thread(target=runtime.load, args=("cria",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert loads.count("loading weights1") <= 1


def test_a_closed_runtime_fails_open_requests_and_takes_no_more(models: Path) -> None:
    runtime = Runtime(Store(models), threads=1)
    stream = runtime.stream(ask("hi", ENDLESS))
    next(stream)
    runtime.close()
    with pytest.raises(RunnerDied, match="closed"):
        list(stream)
    with pytest.raises(PunaError, match="closed"):
        runtime.load("cria")


def test_a_models_draft_layer_saves_steps_and_changes_no_answer(models: Path) -> None:
    """cria, drafting for itself, is always right; `draft_num_predict: 0` leaves it out."""
    add_model(models, "registry.ollama.ai/library/drafted/latest", layers=[("draft", CRIA.read_bytes())])
    with Runtime(Store(models), threads=1) as runtime:
        request = replace(ask("What can you do?"), model="drafted")
        plain = list(runtime.stream(replace(request, options=replace(GREEDY, draft_tokens=0))))
        quick = list(runtime.stream(request))
    assert finished(quick).token_ids == finished(plain).token_ids
    assert finished(plain).usage.accepted_tokens == 0
    assert finished(quick).usage.accepted_tokens > len(finished(quick).token_ids) / 2
