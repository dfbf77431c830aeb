"""Grammars of answers: llguidance takes them, they allow what models write, and what they allow is read back."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema  # type: ignore[import-untyped]
import pytest

from puna.chat import Tool, ToolChoice
from puna.chat.answers import AnswerFormat
from puna.engine import Grammar
from puna.errors import InvalidRequest
from tests.chat.answers.families import CLOCK, SAMPLES, TOOLS, WEATHER, Sample, answer_format
from tests.chat.answers.reading import Read, read
from tests.chat.answers.walking import Bytes

REQUIRED = ToolChoice("required")
FAMILIES = sorted({sample.family for sample in SAMPLES if sample.calls})
PERSON = Grammar(
    "json_schema", json.dumps({"type": "object", "properties": {"age": {"enum": [1, 2]}}, "required": ["age"]})
)
PLAIN = Bytes()


def required(
    answers: AnswerFormat,
    vocabulary: Bytes = PLAIN,
    *,
    name: str | None = None,
    parallel: bool = True,
    thinking: bool = False,
) -> str:
    source = answers.grammar(
        prompt="",
        tools=TOOLS,
        tool_choice=ToolChoice("required", name),
        parallel=parallel,
        thinking=thinking,
        control_tokens=vocabulary.marks,
    )
    assert source is not None
    return source


def check(found: Read, written: str) -> None:
    """Calls of the tools, with arguments of their schemas, and nothing else."""
    schemas = {tool.name: tool.parameters for tool in TOOLS}
    assert found.calls, written
    assert not found.text.strip(), written
    for call in found.calls:
        jsonschema.validate(dict(call.arguments), dict(schemas[call.name]))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("control", [False, True], ids=["text", "control"])
def test_whatever_the_grammar_allows_is_read_as_calls_of_the_tools(family: str, control: bool) -> None:
    answers = answer_format(family)
    vocabulary = Bytes(sorted(answers.special_tokens)) if control else PLAIN
    source = required(answers, vocabulary)
    written = [text for seed in range(8) if (text := vocabulary.walk(source, seed)) is not None]
    assert len(written) >= 2
    for text in written:
        check(read(answers, [text]), text)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_named_tool_is_the_only_one(family: str) -> None:
    answers = answer_format(family)
    source = required(answers, name="now", parallel=False)
    written = [text for seed in range(4) if (text := PLAIN.walk(source, seed)) is not None]
    assert written
    for text in written:
        assert read(answers, [text]).plain[2] == [("now", {})], text


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "gpt-oss"])
def test_two_calls_are_allowed_unless_one_is_asked_for(family: str) -> None:
    answers = answer_format(family)
    vocabulary = Bytes(sorted(answers.special_tokens))

    def counts(parallel: bool) -> set[int]:
        source = required(answers, vocabulary, name="now", parallel=parallel)
        written = [vocabulary.walk(source, seed) for seed in range(16)]
        return {len(read(answers, [text]).calls) for text in written if text is not None}

    assert max(counts(True)) > 1
    assert counts(False) == {1}


SAID = {
    "qwen3": '<think>\nHm.\n</think>\n\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    "qwen2.5": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}\n</tool_call>',
    "llama3.2": '{"name": "get_weather", "parameters": {"city": "Paris", "days": 2, "unit": "celsius"}}',
    "mistral-nemo": '[TOOL_CALLS][{"name": "now", "arguments": {}}]',
    "mistral-small3.2": '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris", "unit": "celsius"}',
    "deepseek-v3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```"
    "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "functiongemma": "<start_function_call>call:get_weather{city:<escape>Paris<escape>,unit:<escape>celsius<escape>}"
    "<end_function_call>",
    "qwen3-coder": "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=unit>\n"
    "celsius\n</parameter>\n</function>\n</tool_call>",
    "glm4.6": "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>Paris</arg_value>\n<arg_key>unit</arg_key>\n"
    "<arg_value>celsius</arg_value>\n</tool_call>",
    "command-r7b": '<|START_THINKING|>Hm.<|END_THINKING|><|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": '
    '"now", "parameters": {}}\n]<|END_ACTION|>',
    "gpt-oss": "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary to=functions.now "
    "<|constrain|>json<|message|>{}",
}


@pytest.mark.parametrize("family", sorted(SAID))
@pytest.mark.parametrize("control", [False, True], ids=["text", "control"])
def test_what_the_model_was_taught_to_write_is_allowed(family: str, control: bool) -> None:
    answers = answer_format(family)
    vocabulary = Bytes(sorted(answers.special_tokens)) if control else PLAIN
    assert vocabulary.accepts(required(answers, vocabulary, thinking=True), SAID[family])


@pytest.mark.parametrize("family", sorted(SAID))
def test_text_instead_of_a_required_call_is_not_allowed(family: str) -> None:
    source = required(answer_format(family))
    assert not PLAIN.accepts(source, "I look.")
    assert not PLAIN.accepts(source, SAID[family].replace("get_weather", "get_money").replace("now", "never"))


@pytest.mark.parametrize(
    "body",
    [PERSON, Grammar("regex", '[{]"age": ?[12][}]'), Grammar("lark", 'start: "{" /"age": [12]/ "}"')],
    ids=lambda body: body.kind,
)
def test_a_body_is_held_to_its_form_after_the_thought(body: Grammar) -> None:
    for family, before in [
        ("qwen3", "<think>\nHm {.\n</think>\n\n"),
        ("qwen3", ""),
        ("gpt-oss", "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("phi3.5", ""),
    ]:
        source = answer_format(family).grammar(prompt="", body=body)
        assert source is not None
        assert PLAIN.accepts(source, before + '{"age": 2}')
        assert not PLAIN.accepts(source, before + '{"age": 3}')
        assert not PLAIN.accepts(source, before + 'So: {"age": 2}')


@pytest.mark.parametrize("regex", ["a/b", r"a\/b", r"[/]\\/", "a\n/"])
def test_slashes_in_a_regex_do_not_end_it(regex: str) -> None:
    source = answer_format("phi3.5").grammar(prompt="", body=Grammar("regex", regex))
    assert source is not None
    assert PLAIN.accepts(source, {"a/b": "a/b", r"a\/b": "a/b", r"[/]\\/": "/\\/", "a\n/": "a\n/"}[regex])


def test_a_body_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="the JSON schema is not valid"):
        answer_format("phi3.5").grammar(prompt="", body=Grammar("json_schema", "[1"))
    assert answer_format("phi3.5").grammar(prompt="", body=Grammar("json_schema", "true"))


def test_after_a_mark_of_the_prompt_come_calls_or_marked_text() -> None:
    answers = answer_format("functionary3.2")
    begun = "<s>assistant\n>>>"
    source = answers.grammar(prompt=begun, body=PERSON, tools=TOOLS)
    assert source is not None
    assert PLAIN.accepts(source, 'all\n{"age": 2}')
    assert PLAIN.accepts(source, "now\n{}>>>now\n{}")
    assert not PLAIN.accepts(source, '{"age": 2}')
    assert not PLAIN.accepts(source, ">>>now\n{}")
    forced = answers.grammar(prompt=begun, tools=TOOLS, tool_choice=REQUIRED, parallel=False)
    assert forced is not None
    assert PLAIN.accepts(forced, "now\n{}")
    assert not PLAIN.accepts(forced, "all\nHello.")


def test_an_open_thought_must_be_closed_before_the_body() -> None:
    source = answer_format("deepseek-r1").grammar(prompt="<｜Assistant｜><think>\n", body=PERSON)
    assert source is not None
    assert PLAIN.accepts(source, 'Hm.\n</think>\n\n{"age": 2}')
    assert not PLAIN.accepts(source, '{"age": 2}')


def test_without_thinking_no_thought_is_allowed() -> None:
    source = answer_format("qwen3").grammar(prompt="", body=PERSON, thinking=False)
    assert source is not None
    assert PLAIN.accepts(source, '{"age": 2}')
    assert not PLAIN.accepts(source, '<think></think>{"age": 2}')


def test_tools_that_may_be_called_are_an_alternative_to_the_body() -> None:
    answers = answer_format("qwen2.5")
    source = answers.grammar(prompt="", body=PERSON, tools=TOOLS)
    none = answers.grammar(prompt="", body=PERSON, tools=TOOLS, tool_choice=ToolChoice("none"))
    assert source is not None
    assert none is not None
    assert PLAIN.accepts(source, '{"age": 2}')
    assert PLAIN.accepts(source, SAID["qwen2.5"])
    assert not PLAIN.accepts(none, SAID["qwen2.5"])


def test_a_model_without_tools_answers_in_the_body_alone() -> None:
    source = answer_format("phi3.5").grammar(prompt="", body=PERSON, tools=TOOLS)
    assert source is not None
    assert PLAIN.accepts(source, '{"age": 2}')


def test_nothing_is_held_where_nothing_was_asked_for() -> None:
    assert answer_format("qwen3").grammar(prompt="", tools=TOOLS) is None
    assert answer_format("qwen3").grammar(prompt="") is None


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "llama3.2"])
def test_a_strict_tool_is_held_to_its_schema_where_the_model_may_call_or_not(family: str) -> None:
    answers = answer_format(family)
    vocabulary = Bytes(sorted(answers.special_tokens))
    before, text = "", "I look."
    if family == "gpt-oss":
        before = "<|channel|>final<|message|>"
    source = answers.grammar(
        prompt="", tools=[replace(WEATHER, strict=True), CLOCK], control_tokens=vocabulary.marks, parallel=False
    )
    assert source is not None
    assert vocabulary.accepts(source, before + text)
    required_source = required(answers, vocabulary, parallel=False)
    for seed in range(6):
        call = vocabulary.walk(required_source, seed)
        if call is not None:
            assert vocabulary.accepts(source, ("" if before else text) + call), call
            assert not vocabulary.accepts(source, call.replace("get_weather", "get_money").replace("now", "never"))


def test_strict_tools_leave_text_free_where_marks_are_text() -> None:
    source = answer_format("qwen3").grammar(prompt="", tools=[replace(CLOCK, strict=True)])
    assert source is not None
    call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    for answer in ("2 < 3", "<think>Hm.</think>I look." + call, f"{call}\n{call}", call + " Done."):
        assert PLAIN.accepts(source, answer)
    for answer in ("<tool_call>nothing", call.replace("{}", '{"a": 1}')):
        assert not PLAIN.accepts(source, answer)
    assert answer_format("llama3.2").grammar(prompt="", tools=[replace(CLOCK, strict=True)]) is None


def test_calls_that_cannot_be_required_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="no way to call tools"):
        answer_format("phi3.5").grammar(prompt="", tools=TOOLS, tool_choice=REQUIRED)
    with pytest.raises(InvalidRequest, match="'other' must be called"):
        answer_format("qwen3").grammar(prompt="", tools=TOOLS, tool_choice=ToolChoice("required", "other"))
    with pytest.raises(InvalidRequest, match="a tool must be called"):
        answer_format("qwen3").grammar(prompt="", tool_choice=REQUIRED)


@pytest.mark.parametrize("family", FAMILIES)
def test_references_in_a_tools_schema_are_followed(family: str) -> None:
    parameters: dict[str, object] = {
        "type": "object",
        "properties": {"n": {"$ref": "#/$defs/small"}},
        "required": ["n"],
        "$defs": {"small": {"type": "integer", "minimum": 1, "maximum": 3}},
        "additionalProperties": False,
    }
    tools = [Tool('set_"n"' if family == "qwen2.5" else "set_n", "sets n", parameters)]
    answers = answer_format(family)
    source = answers.grammar(prompt="", tools=tools, tool_choice=REQUIRED, parallel=False, thinking=False)
    assert source is not None
    texts = [text for seed in range(6) if (text := PLAIN.walk(source, seed)) is not None]
    assert texts
    for text in texts:
        found = read(answers, [text], tools=tools)
        assert [call.name for call in found.calls] == [tools[0].name], text
        if family not in ("functiongemma", "gemma4"):  # these hold a value to no more than a type
            assert found.calls[0].arguments["n"] in (1, 2, 3), text


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.calls], ids=lambda s: s.family)
def test_hostile_schemas_make_a_grammar_or_a_refusal_and_nothing_else(sample: Sample) -> None:
    hostile: list[dict[str, object]] = [
        {},
        {"properties": 3},
        {"properties": {"a": 3}, "required": "a"},
        {"enum": 5, "type": ["x", 1]},
    ]
    for parameters in hostile:
        tool = Tool("now", "", parameters)
        answers = answer_format(sample.family)
        assert answers.grammar(prompt="", tools=[tool], tool_choice=REQUIRED)
        read(answers, [sample.answer], tools=[tool, WEATHER, CLOCK])


@pytest.mark.parametrize("family", FAMILIES)
def test_names_with_odd_characters_are_read_back_or_refused(family: str) -> None:
    answers = answer_format(family)
    tool = Tool("a.b:c d", "", {"properties": {"e f": {"type": "boolean"}}, "required": ["e f"]})
    try:
        source = answers.grammar(prompt="", tools=[tool], tool_choice=REQUIRED, parallel=False, thinking=False)
    except InvalidRequest:
        assert family in ("lfm2", "functiongemma", "gemma4")
        return
    assert source is not None
    texts = [text for seed in range(6) if (text := PLAIN.walk(source, seed)) is not None]
    for text in texts:
        calls = read(answers, [text], tools=[tool]).calls
        assert [call.name for call in calls] == [tool.name], text
        assert calls[0].arguments["e f"] in (True, False)
