"""Tools, thinking, constraints, continued messages and suffixes, through the whole runtime, on cria's weights.

cria's own way of answering may change with its training; so the model here is cria under a template that thinks and
calls tools as Hermes and Qwen do, and what it must say is held to by grammar.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from puna.chat import Message, Tool, ToolCall, ToolChoice
from puna.engine import Grammar
from puna.errors import ContextOverflow, InvalidRequest
from puna.gguf import GGUFWriter, ValueType
from puna.gguf.reader import open_gguf
from puna.runtime import ChatRequest, CompletionRequest, Delta, Finished, Options, Runtime
from puna.store import Store
from tests.server.variant import THINKER, cria_with_template

CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["深圳", "Paris"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = Tool("weather", "The weather of a city", CITY)
CLOCK = Tool("clock", "The time", {"type": "object", "properties": {}, "additionalProperties": False})
YES = Grammar("json_schema", json.dumps({"enum": ["yes", "no"]}))
REQUIRED = ToolChoice("required")
QUICK = Options(temperature=0, max_tokens=200)


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(cria_with_template(tmp_path_factory.mktemp("thinker") / "thinker.gguf", THINKER))


@pytest.fixture(scope="module")
def insert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """cria with tokens for filling in."""
    path = tmp_path_factory.mktemp("insert") / "insert.gguf"
    with open_gguf(Store().resolve("cria").path) as cria:
        writer = GGUFWriter()
        for key, value in cria.metadata.items():
            kind = cria.value_types[key]
            writer.add(key, value, None if kind is ValueType.ARRAY else kind)
        for name, token in (("pre", 300), ("suf", 301), ("mid", 302)):
            writer.add(f"tokenizer.ggml.fim_{name}_token_id", token, ValueType.UINT32)
        for tensor in cria.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
        writer.write(path)
    return str(path)


def chat(model: str, text: str = "hi", **fields: Any) -> ChatRequest:
    return ChatRequest(model, (Message("user", text),), **{"options": QUICK, **fields})


class Said:
    """A whole answer."""

    def __init__(self, runtime: Runtime, request: ChatRequest | CompletionRequest) -> None:
        *deltas, last = runtime.stream(request)
        assert isinstance(last, Finished)
        pieces = [delta for delta in deltas if isinstance(delta, Delta)]
        self.finished = last
        self.text = "".join(delta.text for delta in pieces)
        self.thinking = "".join(delta.thinking for delta in pieces)
        self.calls = [call for delta in pieces for call in delta.tool_calls]
        self.logprobs = [each for delta in pieces for each in delta.logprobs]


def test_what_a_model_can_do_is_among_its_capabilities(runtime: Runtime, thinker: str, insert: str) -> None:
    assert set(runtime.text_model(thinker).local.details.capabilities) == {"completion", "tools", "thinking"}
    assert "insert" in runtime.text_model(insert).local.details.capabilities
    assert "insert" not in runtime.text_model("cria").local.details.capabilities


def test_tools_and_thinking_reach_the_template(runtime: Runtime, thinker: str) -> None:
    prompt = runtime.prompt(chat(thinker, tools=(WEATHER,)))
    assert '"name": "weather"' in prompt.text
    assert prompt.tools == (WEATHER,)
    assert prompt.text.endswith("<think>\n")
    assert runtime.prompt(chat(thinker, think=False)).text.endswith("</think>\n\n")
    none = runtime.prompt(chat(thinker, tools=(WEATHER,), tool_choice=ToolChoice("none")))
    assert "weather" not in none.text
    assert not none.warnings


def test_a_model_without_tools_ignores_them_and_says_so(runtime: Runtime, models: Path) -> None:
    plain = str(cria_with_template(models.with_suffix(".gguf"), "{% for m in messages %}{{ m.content }}{% endfor %}"))
    prompt = runtime.prompt(chat(plain, tools=(WEATHER, CLOCK)))
    assert prompt.tools == ()
    assert any("does not support tools: the 2 given were ignored" in warning for warning in prompt.warnings)
    with pytest.raises(InvalidRequest, match="does not support tools"):
        runtime.prompt(chat(plain, tools=(WEATHER,), tool_choice=REQUIRED))
    with pytest.raises(InvalidRequest, match="does not support thinking"):
        runtime.prompt(chat(plain, think="high"))
    with pytest.raises(InvalidRequest, match="does not support insert"):
        runtime.prompt(CompletionRequest(plain, "a", suffix="b"))
    runtime.prompt(chat(plain, think=False))


def test_levels_of_thinking_that_a_model_has_not_are_reported(runtime: Runtime, thinker: str) -> None:
    assert any("levels" in warning for warning in runtime.prompt(chat(thinker, think="high")).warnings)
    assert not runtime.prompt(chat(thinker, think=True)).warnings


def test_tools_that_outgrow_the_context_are_left_out_with_a_warning(runtime: Runtime, thinker: str) -> None:
    many = tuple(replace(WEATHER, name=f"weather{number}", description="word " * 40) for number in range(36))
    prompt = runtime.prompt(chat(thinker, tools=many))
    assert prompt.tools == ()
    assert any("36 tools do not fit the context of 2048 tokens" in warning for warning in prompt.warnings)
    for fields in ({"tool_choice": REQUIRED}, {"history": "error"}):
        with pytest.raises(ContextOverflow):
            runtime.prompt(chat(thinker, tools=many, **fields))


def test_the_text_of_tools_is_counted_when_the_history_is_fitted(runtime: Runtime, thinker: str) -> None:
    rounds = tuple(
        message for n in range(60) for message in (Message("user", f"question {n}"), Message("assistant", "answer"))
    )
    messages = (*rounds, Message("user", "last"))
    options = Options(context_length=512)
    bare = runtime.prompt(ChatRequest(thinker, messages, options))
    tooled = runtime.prompt(ChatRequest(thinker, messages, options, tools=(WEATHER, CLOCK)))
    assert tooled.context.dropped_messages > bare.context.dropped_messages
    assert tooled.context.prompt_tokens == len(tooled.token_ids) < 512


def test_required_calls_are_made_with_arguments_of_their_schema(runtime: Runtime, thinker: str) -> None:
    named = ToolChoice("required", "weather")
    said = Said(runtime, chat(thinker, tools=(WEATHER, CLOCK), tool_choice=named, think=False))
    assert said.calls
    for call in said.calls:
        assert call.name == "weather"
        assert call.arguments["city"] in ("深圳", "Paris")
        assert 1 <= int(str(call.arguments["days"])) <= 9
    assert len({call.id for call in said.calls}) == len(said.calls)
    assert said.text == "" or said.finished.reason == "length"  # a call that is cut short is text
    assert said.finished.grammar_enforced is True


def test_without_parallel_calls_there_is_one_and_the_answer_ends(runtime: Runtime, thinker: str) -> None:
    request = chat(thinker, tools=(CLOCK,), tool_choice=REQUIRED, parallel_tool_calls=False, think=False)
    said = Said(runtime, request)
    assert [call.name for call in said.calls] == ["clock"]
    assert said.finished.reason == "tool_calls"


def test_a_thought_is_split_off_and_counted_and_the_answer_after_it_is_of_the_schema(
    runtime: Runtime, thinker: str
) -> None:
    # cria never ends a thought by itself: this pattern holds it to a short one.
    held = Grammar("lark", 'start: "I see.</think>\\n\\nyes"')
    model = runtime.text_model(thinker)
    assert model.answers.supports_thinking
    raw = Said(runtime, CompletionRequest(thinker, "<think>\n", raw=True, options=replace(QUICK, grammar=held)))
    assert raw.text == "I see.</think>\n\nyes", "a raw completion is text, marks and all"
    free = Said(runtime, chat(thinker, options=replace(QUICK, max_tokens=12)))
    assert free.thinking
    assert free.text == ""
    assert free.finished.usage.reasoning_tokens == free.finished.usage.completion_tokens > 0
    said = Said(runtime, chat(thinker, think=False, options=replace(QUICK, grammar=YES, logprobs=1)))
    assert json.loads(said.text) in ("yes", "no")
    assert (said.thinking, said.finished.usage.reasoning_tokens) == ("", 0)
    assert "".join(each.text for each in said.logprobs) == said.text
    assert said.finished.grammar_enforced is True


@pytest.mark.parametrize("held", [None, YES])
def test_a_thought_ends_at_its_limit_and_the_answer_goes_on_after_it(
    runtime: Runtime, thinker: str, held: Grammar | None
) -> None:
    options = replace(QUICK, thinking_tokens=8, max_tokens=40, grammar=held, logprobs=0)
    said = Said(runtime, chat(thinker, options=options))
    assert said.thinking.strip()
    assert said.text
    usage = said.finished.usage
    assert 6 <= usage.reasoning_tokens <= 8
    assert said.finished.thought_cut
    assert "think>" not in said.thinking + said.text
    assert usage.completion_tokens == len(said.finished.token_ids) <= 40
    if held:
        assert json.loads(said.text) in ("yes", "no")
        assert said.finished.grammar_enforced is True
    model = runtime.text_model(thinker)
    whole = model.tokenizer.decode(said.finished.token_ids, skip_special=False)
    assert whole.startswith(said.thinking.strip()[:4])
    assert "\n</think>\n\n" in whole
    again = Said(runtime, chat(thinker, options=options))
    assert (again.thinking, again.text, again.finished.token_ids) == (said.thinking, said.text, said.finished.token_ids)


def test_a_limit_of_a_thought_leaves_no_room_for_an_answer_that_has_none(runtime: Runtime, thinker: str) -> None:
    said = Said(runtime, chat(thinker, options=replace(QUICK, thinking_tokens=8, max_tokens=9)))
    assert said.finished.reason == "length"
    assert (said.text, said.finished.thought_cut) == ("", False)
    assert said.finished.usage.completion_tokens <= 9


def test_a_thought_within_its_limit_is_left_alone(runtime: Runtime, thinker: str) -> None:
    free = Said(runtime, chat(thinker, options=replace(QUICK, max_tokens=12)))
    limited = Said(runtime, chat(thinker, options=replace(QUICK, max_tokens=12, thinking_tokens=64)))
    assert (limited.thinking, limited.finished.thought_cut) == (free.thinking, False)


def test_an_answer_that_is_cancelled_while_its_thought_is_cut_ends(runtime: Runtime, thinker: str) -> None:
    options = replace(QUICK, thinking_tokens=4, max_tokens=400)
    for steps in range(1, 8):
        stream = runtime.stream(chat(thinker, options=options))
        for _ in range(steps):
            next(stream)
        stream.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 20
    while any(status.open_requests for status in runtime.ps()):
        assert time.monotonic() < deadline, "a request is still open"
        time.sleep(0.01)


def test_a_thought_comes_before_what_is_held(runtime: Runtime, thinker: str) -> None:
    end = runtime.text_model(thinker).tokenizer.encode("</think>", add_special=False)
    options = Options(temperature=0, max_tokens=60, grammar=YES, logit_bias=dict.fromkeys(end, 40.0))
    said = Said(runtime, chat(thinker, options=options))
    assert said.finished.usage.reasoning_tokens + len(said.text) > 0
    assert said.finished.grammar_enforced is True
    if said.finished.reason == "stop":
        assert json.loads(said.text) in ("yes", "no")


@pytest.mark.parametrize(
    ("grammar", "because"),
    [
        (Grammar("json_schema", '{"type": "objekt"}'), "objekt"),
        (Grammar("json_schema", "[1"), "not valid"),
        (Grammar("gbnf", "root ::= x"), "'x'"),
        (Grammar("regex", "[0-9{3"), "unclosed"),
    ],
)
@pytest.mark.parametrize("thinking", [True, False])
def test_an_impossible_constraint_is_refused_before_any_delta(
    runtime: Runtime, thinker: str, grammar: Grammar, because: str, thinking: bool
) -> None:
    request = chat(thinker if thinking else "cria", options=replace(QUICK, grammar=grammar))
    with pytest.raises(InvalidRequest, match=because):
        next(runtime.stream(request))


def test_whether_a_grammar_was_enforced_is_told_where_one_was_asked_for(runtime: Runtime, thinker: str) -> None:
    short = replace(QUICK, max_tokens=2)
    assert Said(runtime, chat(thinker, options=short)).finished.grammar_enforced is None
    assert Said(runtime, chat(thinker, options=short, tools=(CLOCK,))).finished.grammar_enforced is False
    strict = replace(CLOCK, strict=True)
    assert Said(runtime, chat(thinker, options=short, tools=(strict,))).finished.grammar_enforced is True


def test_an_assistants_message_at_the_end_is_continued(runtime: Runtime, thinker: str) -> None:
    begun = (Message("user", "hi"), Message("assistant", "Hello"))
    prompt = runtime.prompt(ChatRequest("cria", begun, QUICK))
    assert prompt.text.endswith("<|im_start|>assistant\nHello")
    assert prompt.continues
    called = (*begun[:1], Message("assistant", "", tool_calls=(ToolCall("a", "clock"),)))
    assert not runtime.prompt(ChatRequest(thinker, called, QUICK)).continues


def test_a_template_that_cannot_continue_a_message_is_helped(runtime: Runtime, models: Path) -> None:
    refusing = (
        "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}{{ raise_exception('no') }}{% endif %}"
        "[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    model = str(cria_with_template(models.with_suffix(".gguf"), refusing))
    begun = (Message("user", "hi"), Message("assistant", "Hello"))
    assert runtime.prompt(ChatRequest(model, begun, QUICK)).text == "[user]hi[assistant]Hello"


def test_a_suffix_is_put_where_the_model_expects_it(runtime: Runtime, insert: str) -> None:
    tokenizer = runtime.text_model(insert).tokenizer
    request = CompletionRequest(insert, "def f(", suffix="<|im_end|> + 1", raw=True, options=QUICK)
    prompt = runtime.prompt(request)
    before, after = (tokenizer.encode(text, add_special=False) for text in ("def f(", "<|im_end|> + 1"))
    assert prompt.token_ids == (300, *before, 301, *after, 302)
    assert not prompt.chat
    assert Said(runtime, request).finished.usage.prompt_tokens == len(prompt.token_ids)
    with pytest.raises(InvalidRequest, match="suffix"):
        runtime.prompt(replace(request, raw=False, system="Be brief."))
    with pytest.raises(ContextOverflow):
        runtime.prompt(replace(request, suffix="word " * 3000))


@pytest.fixture(scope="module", autouse=True)
def _unloaded(runtime: Runtime, thinker: str, insert: str) -> Iterator[None]:
    """The other tests' runtime has room for cria alone again."""
    yield
    for model in (thinker, insert):
        runtime.unload(model)
