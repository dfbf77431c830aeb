import json
from pathlib import Path

import pytest

from puna.chat import Message
from puna.errors import ContextOverflow, InvalidRequest
from puna.runtime import ChatRequest, CompletionRequest, Options, Runtime
from puna.store import Store
from tests.store.ollama_store import add_model


def user(text: str) -> Message:
    return Message("user", text)


def conversation(rounds: int) -> tuple[Message, ...]:
    return tuple(
        message for number in range(rounds) for message in (user(f"question {number}"), Message("assistant", "answer"))
    )


def test_the_chat_template_and_its_special_tokens_reach_the_model(runtime: Runtime) -> None:
    prompt = runtime.prompt(ChatRequest("cria", (user("hi"),)))
    assert prompt.text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = runtime.text_model("cria").tokenizer
    assert list(prompt.token_ids) == tokenizer.encode(prompt.text, add_special=False, parse_special=True)
    assert prompt.context.prompt_tokens == len(prompt.token_ids)
    assert prompt.context.limit == 2048


def test_a_long_conversation_keeps_the_system_message_and_says_what_went(runtime: Runtime) -> None:
    messages = (Message("system", "Be brief."), *conversation(40), user("last"))
    prompt = runtime.prompt(ChatRequest("cria", messages, Options(context_length=128)))
    assert prompt.text.startswith("<|im_start|>system\nBe brief.")
    assert "last" in prompt.text
    assert "question 0<" not in prompt.text
    assert len(prompt.token_ids) < 128
    assert prompt.context.dropped_messages > 0
    assert prompt.context.dropped_messages % 2 == 0
    assert (prompt.context.limit, prompt.context.policy) == (128, "drop_oldest")


def test_room_for_the_answer_is_kept_free(runtime: Runtime) -> None:
    prompt = runtime.prompt(ChatRequest("cria", (*conversation(40), user("last")), Options(context_length=128)))
    assert len(prompt.token_ids) <= 128 - 32


def test_a_message_that_only_just_fits_is_not_refused_for_the_answers_room(runtime: Runtime) -> None:
    one = len(runtime.prompt(ChatRequest("cria", (user("word " * 100),))).token_ids)
    prompt = runtime.prompt(ChatRequest("cria", (user("word " * 100),), Options(context_length=one + 1)))
    assert len(prompt.token_ids) == one
    with pytest.raises(ContextOverflow):
        runtime.prompt(ChatRequest("cria", (user("word " * 100),), Options(context_length=one)))


def test_the_error_policy_drops_nothing(runtime: Runtime) -> None:
    request = ChatRequest("cria", (*conversation(40), user("last")), Options(context_length=128), history="error")
    with pytest.raises(ContextOverflow):
        runtime.prompt(request)


def test_a_fixed_number_of_rounds_is_kept(runtime: Runtime) -> None:
    prompt = runtime.prompt(ChatRequest("cria", (*conversation(3), user("last")), history=1))
    assert prompt.text == "<|im_start|>user\nlast<|im_end|>\n<|im_start|>assistant\n"
    assert prompt.context.dropped_messages == 6


def test_more_context_than_was_trained_is_reported(runtime: Runtime) -> None:
    prompt = runtime.prompt(ChatRequest("cria", (user("hi"),), Options(context_length=100_000)))
    assert prompt.context.limit == 2048
    assert any("100000" in warning for warning in prompt.warnings)


def test_the_default_context_may_be_set_for_all(models: Path) -> None:
    with Runtime(Store(models), context_length=256) as runtime:
        assert runtime.prompt(ChatRequest("cria", (user("hi"),))).context.limit == 256


def test_a_raw_prompt_is_fed_as_it_stands(runtime: Runtime) -> None:
    prompt = runtime.prompt(CompletionRequest("cria", "<|im_start|>Hi", raw=True))
    tokenizer = runtime.text_model("cria").tokenizer
    assert list(prompt.token_ids) == tokenizer.encode("<|im_start|>Hi", add_special=False, parse_special=True)


def test_a_completion_too_long_is_refused_not_cut(runtime: Runtime) -> None:
    for raw in (True, False):
        with pytest.raises(ContextOverflow):
            runtime.prompt(CompletionRequest("cria", "word " * 100, raw=raw, options=Options(context_length=64)))


def test_an_earlier_exchange_is_continued_as_the_template_would(runtime: Runtime) -> None:
    first = runtime.prompt(CompletionRequest("cria", "hi"))
    tokenizer = runtime.text_model("cria").tokenizer
    answer = tokenizer.encode("Hello!", add_special=False)
    second = runtime.prompt(CompletionRequest("cria", "who are you", context=(*first.token_ids, *answer)))
    whole = runtime.prompt(ChatRequest("cria", (user("hi"), Message("assistant", "Hello!"), user("who are you"))))
    assert second.token_ids == whole.token_ids


def test_the_oldest_of_an_earlier_exchange_goes_and_is_counted(runtime: Runtime) -> None:
    request = CompletionRequest("cria", "hi", context=tuple(range(5, 205)), options=Options(context_length=64))
    prompt = runtime.prompt(request)
    assert len(prompt.token_ids) == 63
    assert prompt.context.dropped_tokens > 130


def test_a_token_id_outside_the_vocabulary_is_refused(runtime: Runtime) -> None:
    with pytest.raises(InvalidRequest, match="99999"):
        runtime.prompt(CompletionRequest("cria", "hi", context=(99999,)))


def test_no_messages_and_an_empty_raw_prompt_are_refused(runtime: Runtime) -> None:
    with pytest.raises(InvalidRequest):
        runtime.prompt(ChatRequest("cria", ()))
    with pytest.raises(InvalidRequest):
        runtime.prompt(CompletionRequest("cria", "", raw=True))


def test_a_stored_models_own_system_messages_and_parameters_are_used(models: Path) -> None:
    turns = [{"role": "user", "content": "1+1"}, {"role": "assistant", "content": "2"}]
    layers = [
        ("system", b"Be brief."),
        ("messages", json.dumps(turns).encode()),
        ("params", b'{"num_ctx": 512, "mirostat": 2}'),
    ]
    add_model(models, layers=layers)
    with Runtime(Store(models)) as runtime:
        prompt = runtime.prompt(ChatRequest("llama", (user("hi"),)))
        own = runtime.prompt(ChatRequest("llama", (Message("system", "Mine."), user("hi"))))
    system = "<|im_start|>system\nBe brief.<|im_end|>\n"
    turns_text = "<|im_start|>user\n1+1<|im_end|>\n<|im_start|>assistant\n2<|im_end|>\n"
    assert prompt.text == system + turns_text + "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert prompt.context.limit == 512
    assert any("mirostat" in warning for warning in prompt.warnings)
    assert "Be brief." not in own.text
