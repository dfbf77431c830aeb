"""puna.LLM and puna.Tokenizer on cria, the model in the box."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from puna import LLM, Completion, Tokenizer
from puna.errors import ContextOverflow, InvalidRequest, ModelNotFound
from puna.runtime import ChatRequest, Finished, Grammar, Options, Runtime
from tests.server.variant import THINKER, cria_with_template

HELLO = [{"role": "user", "content": "hello"}]
CHINESE = [{"role": "user", "content": "你会说中文吗"}]


@pytest.fixture(scope="module")
def llm() -> Iterator[LLM]:
    with LLM("cria", threads=1) as model:
        yield model


def test_the_seed_question_is_answered_in_chinese(llm: LLM) -> None:
    answer = llm.chat(CHINESE, temperature=0)
    assert "中文" in answer.text
    assert answer.finish_reason == "stop"
    assert answer.message == {"role": "assistant", "content": answer.text}
    assert answer.usage.completion_tokens == len(answer.token_ids) > 0


def test_the_answer_is_the_one_that_the_runtime_s_runner_gives(llm: LLM) -> None:
    with Runtime(threads=1, num_parallel=1) as runtime:
        from puna.conversation import to_messages

        request = ChatRequest("cria", to_messages(CHINESE), Options(temperature=1.0, seed=7))
        *_, last = runtime.stream(request)
    assert isinstance(last, Finished)
    assert llm.chat(CHINESE, temperature=1.0, seed=7).token_ids == last.token_ids


def test_the_second_turn_of_a_chat_computes_only_what_is_new(llm: LLM) -> None:
    chat = [{"role": "user", "content": "Tell me something about llamas. " * 8}]
    first = llm.chat(chat, temperature=0)
    second = llm.chat([*chat, first.message, {"role": "user", "content": "And more?"}], temperature=0)
    cached = second.usage.cache.cached_tokens
    assert cached % 32 == 0
    assert cached > first.usage.prompt_tokens - 32
    assert second.usage.cache.disk_tokens == 0


def test_generate_continues_the_text_without_a_template(llm: LLM) -> None:
    prompt = llm.render(HELLO)
    assert llm.generate(prompt, temperature=0).text == llm.chat(HELLO, temperature=0).text
    assert llm.generate("hello", temperature=0, max_tokens=8).context.prompt_tokens < 4


def test_a_list_gives_a_list_and_each_answer_is_what_it_is_alone(llm: LLM) -> None:
    conversations = [HELLO, CHINESE, [{"role": "user", "content": "who are you?"}]] * 4  # more than run at once
    together = llm.chat(conversations, temperature=0)
    alone = [llm.chat(each, temperature=0) for each in conversations[:3]]
    assert [each.text for each in together] == [each.text for each in alone] * 4
    prompts = [llm.render(each) for each in conversations]
    assert [each.text for each in llm.generate(prompts, temperature=0)] == [each.text for each in together]


def test_a_stream_comes_in_pieces_that_make_up_the_answer(llm: LLM) -> None:
    stream = llm.chat(CHINESE, temperature=0, stream=True)
    pieces = list(stream)
    assert len(pieces) > 2
    assert "".join(pieces) == llm.chat(CHINESE, temperature=0).text == stream.completion.text


def test_two_streams_read_in_turns_do_not_mix(llm: LLM) -> None:
    one, other = (llm.chat(each, temperature=0, stream=True) for each in (HELLO, CHINESE))
    texts = ["", ""]
    for _ in range(200):
        for index, stream in enumerate((one, other)):
            texts[index] += next(stream, "")
    assert texts == [llm.chat(each, temperature=0).text for each in (HELLO, CHINESE)]


def test_a_stream_that_is_left_ends_its_sequence(llm: LLM) -> None:
    with llm.generate("hello", temperature=1, stop="never", stream=True) as stream:
        next(stream)
    assert llm._engine is not None
    llm.chat(HELLO, temperature=0)
    assert not llm._engine.has_work
    assert not llm._sinks
    assert stream.completion.finish_reason == "cancelled"


def test_threads_share_one_model_and_each_gets_its_own_answer(llm: LLM) -> None:
    expected = [llm.chat(each, temperature=0).text for each in (HELLO, CHINESE)]
    found: dict[int, Completion] = {}
    workers = [
        threading.Thread(target=lambda i=i: found.__setitem__(i, llm.chat([HELLO, CHINESE][i % 2], temperature=0)))
        for i in range(6)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [found[i].text for i in range(6)] == expected * 3


def test_logits_are_float32_and_greedy_follows_them(llm: LLM) -> None:
    answer = llm.chat(HELLO, temperature=0)
    prompt = Tokenizer("cria").encode(llm.render(HELLO), add_special=False, parse_special=True)
    logits = llm.logits([*prompt, *answer.token_ids])
    assert logits.dtype == np.float32
    assert logits.shape == (len(prompt) + len(answer.token_ids), Tokenizer("cria").vocab_size)
    following = logits.argmax(axis=1)[len(prompt) - 1 : -1]
    assert tuple(following) == answer.token_ids


def test_the_type_of_the_kv_cache_is_the_variable_s_here_too(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = list(range(300, 340))
    monkeypatch.setenv("PUNA_KV_CACHE_TYPE", "q8_0")
    with LLM("cria") as coarse:
        assert not np.array_equal(coarse.logits(ids), llm.logits(ids))
    monkeypatch.setenv("PUNA_KV_CACHE_TYPE", "q3")
    with pytest.raises(InvalidRequest, match="f16, q8_0"):
        LLM("cria")


def test_log_probabilities_are_those_of_the_model_whatever_the_sampling(llm: LLM) -> None:
    prompt = Tokenizer("cria").encode(llm.render(HELLO), add_special=False, parse_special=True)
    answer = llm.chat(HELLO, logprobs=5, temperature=1.5, repeat_penalty=1.3, top_k=5, seed=1, max_tokens=20)
    rows = llm.logits([*prompt, *answer.token_ids])[len(prompt) - 1 : -1].astype(np.float64)
    rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
    assert len(answer.logprobs) == len(answer.token_ids) == 20
    for token, reported, row in zip(answer.token_ids, answer.logprobs, rows, strict=True):
        assert reported.logprob == pytest.approx(row[token], abs=1e-5)
        assert [each.logprob for each in reported.top] == pytest.approx(np.sort(row)[::-1][:5], abs=1e-5)
    assert b"".join(each.bytes for each in answer.logprobs).decode(errors="replace") == answer.text
    assert llm.chat(HELLO, max_tokens=2).logprobs == ()


def test_an_answer_held_to_a_format_is_json_of_it(llm: LLM) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]}
    hot = llm.chat(HELLO, format={**schema, "additionalProperties": False}, temperature=2.0, top_k=0, seed=1)
    assert json.loads(hot.text)["n"] <= 99
    assert hot.finish_reason == "stop"
    word = llm.chat(HELLO, format=Grammar("regex", "(yes|no)!"))
    assert word.text in ("yes!", "no!")
    with pytest.raises(InvalidRequest, match="objekt"):
        llm.chat(HELLO, format={"type": "objekt"})


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 0.7, "seed": 3, "repeat_penalty": 1.05}])
def test_speculation_changes_no_token(llm: LLM, sampling: dict[str, Any]) -> None:
    prompt = "one two three four five six seven eight nine ten\n" * 6
    ends = dict.fromkeys(llm._text.tokenizer.eog_ids, -100.0)  # made to go on, a small model repeats itself
    plain, quick = (
        llm.generate(prompt, max_tokens=120, draft_tokens=draft, logit_bias=ends, **sampling) for draft in (0, 15)
    )
    assert quick.token_ids == plain.token_ids
    assert plain.usage.drafted_tokens == 0
    assert quick.usage.drafted_tokens >= quick.usage.accepted_tokens
    if sampling["temperature"] == 0:
        assert quick.usage.accepted_tokens > 10, "nothing was accepted: this test tests nothing"


def test_a_draft_model_changes_no_token_and_one_of_another_vocabulary_is_refused(llm: LLM) -> None:
    asked = {"temperature": 0.8, "seed": 2, "max_tokens": 60}
    with LLM("cria", threads=1, draft_model="cria") as drafted:
        answer = drafted.chat(HELLO, **asked)  # type: ignore[call-overload]
    assert answer.token_ids == llm.chat(HELLO, **asked).token_ids  # type: ignore[call-overload]
    assert answer.usage.accepted_tokens > 0
    greedy = llm.chat(CHINESE, temperature=0, draft_tokens=0)
    with LLM("cria", threads=1, draft_model="cria") as drafted:
        answer = drafted.chat(CHINESE, temperature=0)
    assert answer.token_ids == greedy.token_ids
    assert answer.usage.accepted_tokens > len(answer.token_ids) / 2


def test_a_stop_string_ends_the_answer_before_it_and_may_be_a_single_string(llm: LLM) -> None:
    whole = llm.chat(HELLO, temperature=0).text
    stop = whole[5:9]
    for stops in (stop, [stop], ["not there", stop]):
        cut = llm.chat(HELLO, temperature=0, stop=stops)
        assert (cut.text, cut.finish_reason) == (whole[: whole.index(stop)], "stop")


def test_max_tokens_is_exact(llm: LLM) -> None:
    answer = llm.chat(HELLO, temperature=0, max_tokens=3)
    assert (len(answer.token_ids), answer.finish_reason) == (3, "length")


@pytest.mark.parametrize(
    "options",
    [{"max_new_tokens": 3}, {"temprature": 1}, {"context_length": 9}, {"temperature": -1}, {"top_p": 2},
     {"top_k": "x"}, {"max_tokens": -1}, {"max_tokens": "many"}, {"stop": 3}, {"stop": ["a", 3]}, {"seed": 1.5},
     {"logit_bias": {10**9: 1.0}}],
)  # fmt: skip
def test_an_option_that_cannot_be_honoured_is_an_error(llm: LLM, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        llm.chat(HELLO, **options)
    assert not llm._sinks


def test_a_logit_bias_bans_a_token(llm: LLM) -> None:
    first = llm.chat(HELLO, temperature=0).token_ids[0]
    assert first not in llm.chat(HELLO, temperature=0, logit_bias={first: -100.0}).token_ids


@pytest.mark.parametrize("messages", [[], [[]], ["hello"], [{"role": "user"}]])
def test_what_is_no_conversation_is_refused(llm: LLM, messages: Any) -> None:
    with pytest.raises(InvalidRequest):
        llm.chat(messages)


def test_a_stream_of_several_is_refused(llm: LLM) -> None:
    with pytest.raises(InvalidRequest, match="one prompt or conversation"):
        llm.generate(["a", "b"], stream=True)  # type: ignore[call-overload]


def test_one_bad_prompt_of_a_list_leaves_nothing_running(llm: LLM) -> None:
    with pytest.raises(ContextOverflow):
        llm.generate(["hello", "hello " * 5000])
    llm.chat(HELLO, temperature=0)
    assert llm._engine is not None
    assert not llm._engine.has_work


def test_a_long_conversation_is_fitted_and_says_what_went() -> None:
    turns = [
        {"role": role, "content": "hello there, how are you?"} for _ in range(20) for role in ("user", "assistant")
    ]
    with LLM("cria", threads=1, context=128) as small:
        assert small.context == 128
        answer = small.chat([*turns, {"role": "user", "content": "hello"}], temperature=0)
    assert answer.context.dropped_messages > 0
    assert answer.context.limit == 128


def test_embeddings_are_unit_vectors_the_same_alone_and_together(llm: LLM) -> None:
    alone = llm.embed("hello")
    together = llm.embed(["你好", "hello", "What is Puna?"])
    assert alone.shape == (256,)
    assert together.shape == (3, 256)
    assert np.array_equal(together[1], alone)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-6)
    short = llm.embed("hello", dimensions=16)
    assert short == pytest.approx(alone[:16] / np.linalg.norm(alone[:16]))
    assert llm.embed([]).shape == (0, 256)


def test_embedding_beside_an_open_answer_changes_neither(llm: LLM) -> None:
    whole, vector = llm.chat(HELLO, temperature=0).text, llm.embed("hello")
    with llm.chat(HELLO, temperature=0, stream=True) as stream:
        first = next(stream)
        assert np.array_equal(llm.embed("hello"), vector)
        assert first + "".join(stream) == whole


def test_a_text_that_cannot_be_embedded_is_refused_before_any_is(llm: LLM) -> None:
    with pytest.raises(ContextOverflow, match="exceeds the context length"):
        llm.embed(["hello", "hello " * 3000])
    with pytest.raises(InvalidRequest, match="input 1 has no tokens"):
        llm.embed(["hello", ""])
    with pytest.raises(InvalidRequest, match="dimensions is 257"):
        llm.embed("hello", dimensions=257)


def test_a_closed_model_says_that_it_is_closed() -> None:
    model = LLM("cria", threads=1)
    stream = model.chat(HELLO, stream=True)
    model.close()
    model.close()
    for use in (lambda: model.chat(HELLO), lambda: model.logits([1]), lambda: next(stream)):
        with pytest.raises(InvalidRequest, match="closed"):
            use()


def test_progress_is_told_while_loading() -> None:
    steps: list[tuple[str, int, int]] = []
    LLM("cria", threads=1, on_progress=lambda *step: steps.append(step)).close()
    assert steps
    assert steps[-1][1] == steps[-1][2]


def test_an_unknown_model_is_an_error_of_ours(tmp_path: Path) -> None:
    for missing in ("no-such-model", tmp_path / "none.gguf"):
        for make in (LLM, Tokenizer):
            with pytest.raises(ModelNotFound):
                make(missing)


@pytest.mark.parametrize("text", ["hello", "你好，世界", "  two  blanks\n\ttab", "😀", "<|im_start|>"])
def test_a_tokenizer_takes_text_there_and_back(text: str) -> None:
    tokenizer = Tokenizer("cria")
    ids = tokenizer.encode(text, add_special=False)
    assert all(isinstance(token, int) and 0 <= token < tokenizer.vocab_size for token in ids)
    assert tokenizer.decode(ids) == text


def test_tools_and_thinking_are_honoured_and_part_of_the_next_message(tmp_path: Path) -> None:
    clock = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
    with LLM(cria_with_template(tmp_path / "thinker.gguf", THINKER), context=256, threads=1) as thinker:
        called = thinker.chat(HELLO, tools=[clock], tool_choice="clock", think=False, max_tokens=60, temperature=0)
        assert called.tool_calls
        assert {call.name for call in called.tool_calls} == {"clock"}
        assert called.message["tool_calls"]
        thought = thinker.chat(HELLO, max_tokens=8, temperature=0)
        assert thought.thinking
        assert thought.message["thinking"] == thought.thinking
        cut = thinker.chat(HELLO, max_tokens=40, temperature=0, thinking_tokens=6)
        assert cut.text
        assert 0 < cut.usage.reasoning_tokens <= 6
        assert thought.usage.reasoning_tokens > 0
    with pytest.raises(InvalidRequest, match="function"):
        thinker.chat(HELLO, tools=[{"name": "clock"}])
