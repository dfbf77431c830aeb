"""Answers told apart into thoughts, text and calls, in every family's notation, however they are cut."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.protocol.instruct.messages import AssistantMessage, ToolMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import FunctionCall
from mistral_common.protocol.instruct.tool_calls import ToolCall as MistralCall
from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

from puna.chat import Tool, ToolCall
from puna.chat.answers import Text, Thought
from tests.chat.answers.families import EXTRACTS, SAMPLES, TOOLS, Sample, answer_format
from tests.chat.answers.reading import read

FAMILIES = sorted({sample.family for sample in SAMPLES})
MARKS = {family: sorted(answer_format(family).special_tokens) for family in FAMILIES}


def cut(text: str, places: list[int]) -> list[str]:
    ends = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[a:b] for a, b in pairwise(ends)]


@pytest.mark.parametrize("sample", SAMPLES, ids=[f"{sample.family}-{i}" for i, sample in enumerate(SAMPLES)])
def test_calls_and_thoughts_are_found_whole_and_letter_by_letter(sample: Sample) -> None:
    answers = answer_format(sample.family)
    for parts in ([sample.answer], list(sample.answer)):
        found = read(answers, parts)
        assert (found.text, found.thought) == (sample.text, sample.thought)
        assert [(call.name, dict(call.arguments)) for call in found.calls] == list(sample.calls)


@given(st.sampled_from(SAMPLES), st.lists(st.integers(0, 2000), max_size=12), st.integers(0, 2000))
@settings(max_examples=300, deadline=None)
def test_where_an_answer_is_cut_changes_nothing(sample: Sample, places: list[int], length: int) -> None:
    answer = sample.answer[: max(1, length % (len(sample.answer) + 1))]  # an answer may also break off anywhere
    answers = answer_format(sample.family)
    assert read(answers, cut(answer, places)).plain == read(answers, [answer]).plain


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_marks_in_any_order_lose_no_character_and_do_not_depend_on_cuts(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(FAMILIES))
    words = [*MARKS[family], "get_weather", "now", "call:now", "{", "}", "[", "]", "(", ")", '"', "'", "\\", ",", ":"]
    words += ['{"name": "now", "arguments": {}}', "<think>", "</think>", " ", "\n", "a", "é", "to=", "<", '{"a": 1}']
    parts = data.draw(st.lists(st.sampled_from(words), max_size=14))
    answers = answer_format(family)
    whole = read(answers, ["".join(parts)])
    assert read(answers, list("".join(parts))).plain == whole.plain
    arguments = json.dumps([dict(call.arguments) for call in whole.calls], ensure_ascii=False)
    assert (whole.text + whole.thought + arguments).count("é") == parts.count("é")


@pytest.mark.parametrize("family", FAMILIES)
def test_without_tools_marks_of_calls_are_text(family: str) -> None:
    answer = "a [TOOL_CALLS] <tool_call>\n{} </tool_call> b"
    assert read(answer_format(family), list(answer), tools=()).text == answer


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.calls and s.family != "gpt-oss"], ids=lambda s: s.family)
def test_a_call_of_no_tool_on_offer_is_text(sample: Sample) -> None:
    found = read(answer_format(sample.family), list(sample.answer), tools=[Tool("other")])
    assert not found.calls
    assert found.text
    assert sample.calls[-1][0] in found.text


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_that_never_ends_is_text(family: str) -> None:
    for sample in (s for s in SAMPLES if s.family == family and s.calls):
        name = sample.calls[0][0]
        start = sample.answer[: sample.answer.index(name) + len(name)]
        found = read(answer_format(family), [start])
        assert not found.calls
        assert found.text.endswith(name)


def test_text_before_a_call_is_shown_at_once_and_only_half_a_mark_is_held_back() -> None:
    parser = answer_format("qwen2.5").parser("", tools=TOOLS)
    assert parser.push("I look") == [Text("I look")]
    assert parser.push(" up.\n<tool") == [Text(" up.")]
    assert parser.held == len("\n<tool")
    assert parser.push("box>") == [Text("\n<toolbox>")]
    assert parser.held == 0


def test_text_is_not_held_back_where_no_mark_may_come() -> None:
    parser = answer_format("phi3.5").parser("", tools=TOOLS)
    assert parser.push("a \n") == [Text("a \n")]
    assert parser.push("<") == [Text("<")]


def test_json_that_is_no_call_streams_from_a_llama() -> None:
    parser = answer_format("llama3.2").parser("", tools=TOOLS)
    assert parser.push('{"city') == [Text('{"city')]
    assert parser.push('": 3}') == [Text('": 3}')]
    assert parser.push('\n{"name": "now", "parameters": {}}') == [Text('\n{"name": "now", "parameters": {}}')]


@pytest.mark.parametrize(
    "answer",
    [
        '<tool_call>{"name": "now", "arguments": {}\n</tool_call>',  # a bracket is missing
        '<tool_call>{"name": "now", "arguments": {}}}\n</tool_call>',  # one is too much
        '<tool_call>{"name": "now", "arguments": {}}',  # the mark is missing
        '<tool_call>\n\n {"name": "now", "arguments": "{}"}</tool_call>',  # JSON in a string
        '<tool_call>{"name": "now"}</tool_call>',
        '<tool_call>{"name": "now", "arguments": null}</tool_call>',
        '<tool_call>{"name": "now", "parameters": {},}</tool_call>',  # another family's key, a comma too much
        "<tool_call>{'name': 'now', 'arguments': {}}</tool_call>",  # Python
        '<tool_call>[{"name": "now", "arguments": {}}]</tool_call>',
        '<tool_call>{"type": "function", "function": {"name": "now", "arguments": "{}"}}</tool_call>',
    ],
)
def test_small_mistakes_are_forgiven(answer: str) -> None:
    found = read(answer_format("qwen2.5"), [answer])
    assert found.plain == ("", "", [("now", {})], "c")


@pytest.mark.parametrize(
    "inside",
    [
        "nothing",
        '{"name": "now", "arguments": [1]}',
        '{"name": "now", "arguments": {"a": NaN}}',
        '{"name": "now", "arguments": {"a": 1e999}}',
        '{"name": "now", "arguments": {"a": "\\ud800"}}',
        '{"name": "now", "arguments": {]}',
        '{"name": ["now"], "arguments": {}}',
        "{" * 100,
        '{"name": "now", "arguments": {"a": ' + "[" * 100 + "]" * 100 + "}}",
        '{"name": "now", "arguments": {"a": ' + "9" * 5000 + "}}",
    ],
)
def test_what_cannot_be_a_call_is_text_to_the_letter(inside: str) -> None:
    answer = f"<tool_call>{inside}</tool_call>"
    assert read(answer_format("qwen2.5"), [answer]).plain == (answer, "", [], "t")


def test_a_call_after_one_that_failed_is_found() -> None:
    call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    assert read(answer_format("qwen2.5"), [f"<tool_call>{call}"]).plain == ("<tool_call>", "", [("now", {})], "tc")


def test_a_mark_inside_a_string_does_not_end_the_call() -> None:
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "</tool_call> \\" } <tool_call>"}}</tool_call>'
    found = read(answer_format("qwen2.5"), list(call))
    assert [dict(c.arguments) for c in found.calls] == [{"city": '</tool_call> " } <tool_call>'}]


def test_ids_are_unique_and_mistrals_have_nine_characters() -> None:
    twice = '[TOOL_CALLS][{"name": "now", "id": "aaaaaaaaa"}, {"name": "now", "id": "aaaaaaaaa"}]'
    ids = [call.id for call in read(answer_format("mistral-nemo"), [twice]).calls]
    assert len(set(ids)) == 2
    assert all(name is not None and len(name) == 9 and name.isalnum() for name in ids)
    others = [call.id for call in read(answer_format("granite4"), [SAMPLES[0].answer]).calls]
    assert len(set(others)) == 2


@pytest.mark.parametrize("tekken", [False, True], ids=["sentencepiece", "tekken"])
def test_mistrals_own_package_writes_calls_that_are_read(tekken: bool) -> None:
    calls = [("get_weather", {"city": "Paris"}), ("now", {})]
    messages = [
        UserMessage(content="hello"),
        AssistantMessage(
            tool_calls=[
                MistralCall(id=f"call0000{index}", function=FunctionCall(name=name, arguments=json.dumps(arguments)))
                for index, (name, arguments) in enumerate(calls)
            ]
        ),
        *[
            ToolMessage(tool_call_id=f"call0000{index}", name=name, content="x")
            for index, (name, _) in enumerate(calls)
        ],
    ]
    tokenizer = MistralTokenizer.v3(is_tekken=tekken)
    tokens = tokenizer.encode_chat_completion(ChatCompletionRequest(messages=messages)).tokens
    text = tokenizer.decode(tokens, special_token_policy=SpecialTokenPolicy.KEEP)
    answer = text.replace("▁", " ").partition("[/INST]")[2].partition("</s>")[0]
    assert read(answer_format("mistral-nemo"), list(answer)).plain == ("", "", calls, "cc")


def test_a_thought_that_the_prompt_opened_goes_on_in_the_answer() -> None:
    answers = answer_format("deepseek-r1")
    found = read(answers, list("Hm <b>.\n</think>\n\nYes."), prompt="<｜Assistant｜><think>\n")
    assert found.plain == ("Yes.", "Hm <b>.", [], "kt")
    assert read(answers, ["Hm"], prompt="<think>\n").plain == ("", "Hm", [], "k")
    assert read(answers, ["Hm"], prompt="what is <think>?<｜Assistant｜>").plain == ("Hm", "", [], "t")


def test_marks_of_thoughts_inside_text_are_text() -> None:
    answer = "Write <think>so</think>."
    assert read(answer_format("qwen3"), list(answer)).plain == (answer, "", [], "t")


def test_thoughts_and_calls_may_take_turns() -> None:
    call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    answer = f"<think>a</think>\n{call}\n<think>b</think>\n{call}\nc"
    assert read(answer_format("qwen3"), list(answer)).plain[:2] == ("c", "ab")
    assert read(answer_format("qwen3"), [answer]).order == "kckct"


def test_thoughts_stream() -> None:
    parser = answer_format("qwen3").parser("", tools=())
    assert parser.push("<think>\nLet me") == [Thought("Let me")]
    assert parser.push(" see\n</thi") == [Thought(" see")]
    assert parser.push("nk>\n\nYes") == [Text("Yes")]


def test_harmony_calls_of_no_tool_are_text() -> None:
    answer = "<|channel|>commentary to=functions.other <|constrain|>json<|message|>{}<|call|>"
    found = read(answer_format("gpt-oss"), list(answer))
    assert not found.calls
    assert found.text == answer.removesuffix("<|call|>")


HOSTILE = [
    "<tool_call>" * 2_000,
    '<tool_call>{"' * 2_000,
    "<tool_call>{'" * 1_000 + '<tool_call>{"a": [' * 1_000,
    " " * 2_000,
    "<tool_call>" + " " * 2_000,
    "<tool_call>" + "[{" * 1_000,
    "<tool_call>{" + '"a":1,' * 4_000,
    "<" * 2_000,
    "[TOOL_CALLS]" * 2_000,
    "<|channel|>" * 2_000,
    "<function=now><parameter=" * 1_000,
    "<|tool_call>call:now{" * 1_000,
    "[now(" * 4_000,
]


@pytest.mark.parametrize(
    "family", ["qwen3", "qwen3-coder", "llama3.2", "gemma4", "mistral-small3.2", "gpt-oss", "glm4.6"]
)
def test_hostile_answers_take_linear_time_and_stay_text(family: str) -> None:
    answers = answer_format(family)
    for answer in HOSTILE:
        for size in (len(answer), 7):
            started = time.process_time()
            found = read(answers, (answer[i : i + size] for i in range(0, len(answer), size)))
            assert time.process_time() - started < 1
            assert not found.calls
            assert len(found.text) <= len(answer)


def test_a_call_of_a_megabyte_is_given_up_and_shown() -> None:
    answer = '<tool_call>{"name": "now", "arguments": {"a": "' + "x" * 2_000_000
    parser = answer_format("qwen2.5").parser("", tools=TOOLS)
    shown = sum(
        len(piece.text)
        for start in range(0, len(answer), 5_000)
        for piece in parser.push(answer[start : start + 5_000])
        if isinstance(piece, Text)
    )
    assert shown > 1_900_000
    assert all(not isinstance(piece, ToolCall) for piece in parser.finish())


def test_an_answer_that_goes_on_after_a_mark_of_the_prompt_is_read_as_if_it_had_the_mark() -> None:
    answers = answer_format("functionary3.2")
    for answer in ("all\nHello.", "all\nHello.>>>now\n{}", "now\n{}>>>all\nHello."):
        for size in (1, len(answer)):
            pieces = [answer[i : i + size] for i in range(0, len(answer), size)]
            parser = answers.parser("<s>assistant\n>>>", tools=TOOLS)
            found = [piece for text in pieces for piece in parser.push(text)] + parser.finish()
            assert "".join(piece.text for piece in found if isinstance(piece, Text)) == "Hello."
            assert [piece.name for piece in found if isinstance(piece, ToolCall)] == ["now"] * ("now" in answer)
            assert parser.held == 0


@pytest.mark.parametrize("header", ["é", "final é", "analysis to=now é", "to=é"])
def test_a_header_of_gpt_oss_that_says_what_none_does_is_text(header: str) -> None:
    answer = f"<|channel|>{header}<|message|>Hm."
    for parts in ([answer], list(answer)):
        found = read(answer_format("gpt-oss"), parts)
        assert (found.text.count("é"), "Hm." in found.text, found.calls) == (1, True, [])
    weather = Tool("天气", "", {"type": "object", "properties": {}})
    called = read(
        answer_format("gpt-oss"), ["<|channel|>commentary to=functions.天气 json<|message|>{}"], tools=[weather]
    )
    assert [call.name for call in called.calls] == ["天气"]


def test_every_extract_has_a_sample() -> None:
    assert set(EXTRACTS) <= set(FAMILIES)
