"""Bodies of /v1/chat/completions to the runtime's requests."""

from __future__ import annotations

from typing import Any

import pytest

from puna.chat import AUTO, Message, Tool, ToolCall, ToolChoice
from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, Grammar
from puna.server.body import check
from puna.server.openai.chat_requests import ChatBody

HI = {"role": "user", "content": "hi"}
PLUS = {"name": "plus", "description": "Adds.", "parameters": {"type": "object"}}
TIMES = {"name": "times"}
TOOLS = [{"type": "function", "function": PLUS}, {"type": "function", "function": TIMES}]


def request_of(**fields: Any) -> ChatRequest:
    requests, _ = check({"model": "m", "messages": [HI], **fields}, ChatBody).requests()
    return requests[0]


@pytest.mark.parametrize(
    ("choice", "meant"),
    [
        ("auto", AUTO),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ("any", ToolChoice("required")),
        ({"type": "function", "function": {"name": "times"}}, ToolChoice("required", "times")),
        ({"type": "function", "name": "times"}, ToolChoice("required", "times")),
    ],
)
def test_a_choice_of_tools_means_the_same_here(choice: Any, meant: ToolChoice) -> None:
    request = request_of(tools=TOOLS, tool_choice=choice)
    assert request.tool_choice == meant
    assert request.tools == (Tool("plus", "Adds.", {"type": "object"}), Tool("times"))
    assert request.parallel_tool_calls


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_are_all_the_model_is_told_of(nested: bool, mode: str) -> None:
    allowed: dict[str, Any] = {"mode": mode, "tools": [{"type": "function", "function": {"name": "times"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed} if nested else {"type": "allowed_tools", **allowed}
    request = request_of(tools=TOOLS, tool_choice=choice)
    assert [tool.name for tool in request.tools] == ["times"]
    assert request.tool_choice == ToolChoice(mode)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_choice": {"type": "function", "function": {"name": "minus"}}},
        {"tool_choice": {"type": "custom", "custom": {"name": "plus"}}},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": [{"name": "minus"}]}}},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}},
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": 3}},
        {"tool_choice": "sometimes"},
    ],
)
def test_a_choice_that_nothing_can_honour_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="tool_choice"):
        request_of(tools=TOOLS, **fields)


def test_functions_of_old_are_tools_called_one_at_a_time() -> None:
    request = request_of(functions=[PLUS], function_call={"name": "plus"})
    assert request.tools == (Tool("plus", "Adds.", {"type": "object"}),)
    assert request.tool_choice == ToolChoice("required", "plus")
    assert not request.parallel_tool_calls


def test_messages_keep_calls_thoughts_and_whom_a_result_comes_from() -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "plus", "arguments": '{"a": 1}'}},
                {"id": "c2", "type": "function", "function": {"name": "times", "arguments": ""}},
            ],
        },
        {"role": "tool", "content": "2", "tool_call_id": "c2"},
        {"role": "tool", "content": [{"type": "text", "text": "1"}], "tool_call_id": "c1"},
        {"role": "assistant", "content": "", "function_call": {"name": "plus", "arguments": "{}"}},
        {"role": "function", "name": "plus", "content": "0"},
        {"role": "assistant", "content": None, "refusal": "no"},
    ]
    assert request_of(messages=messages).messages == (
        Message("system", "a\nb"),
        Message("assistant", "", "hm", (ToolCall("c1", "plus", {"a": 1}), ToolCall("c2", "times", {}))),
        Message("tool", "2", tool_call_id="c2", tool_name="times"),
        Message("tool", "1", tool_call_id="c1", tool_name="plus"),
        Message("assistant", "", tool_calls=(ToolCall(None, "plus", {}),)),
        Message("tool", "0", tool_name="plus"),
        Message("assistant", "no"),
    )


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "xhigh"}, "max"),
        ({"reasoning": {"effort": "high"}}, "high"),
        ({"think": False, "reasoning_effort": "high"}, False),
        ({"think": True}, True),
        ({"think": "medium"}, "medium"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled"}, "chat_template_kwargs": {"thinking": False}}, True),
        ({"thinking": {"type": "auto"}}, None),
        ({"thinking_budget": 0}, False),
        ({"chat_template_kwargs": {"thinking": True, "date": "now"}}, True),
    ],
)
def test_every_spelling_of_thinking_is_understood(fields: dict[str, Any], think: object) -> None:
    assert request_of(**fields).think == think


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, Grammar("json_schema", '{"type":"object"}')),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": 1}}}},
            Grammar("json_schema", '{"const": 1}'),
        ),
        ({"guided_regex": "a+"}, Grammar("regex", "a+")),
        ({"structured_outputs": {"json_object": True}}, Grammar("json_schema", '{"type":"object"}')),
        ({"structured_outputs": {"json": '{"const": 1}'}}, Grammar("json_schema", '{"const": 1}')),
    ],
)
def test_what_an_answer_is_held_to(fields: dict[str, Any], grammar: Grammar | None) -> None:
    assert request_of(**fields).options.grammar == grammar


def test_fields_go_before_options_and_both_before_the_defaults() -> None:
    options = request_of(
        options={"num_ctx": 512, "temperature": 0.1, "top_k": 3, "seed": 4}, num_ctx=1024, seed=5
    ).options
    assert (options.context_length, options.temperature, options.top_k, options.seed) == (1024, 0.1, 3, 5)
    defaults = request_of().options
    assert (defaults.temperature, defaults.top_p, defaults.top_k, defaults.max_tokens) == (1, 1, None, None)
    assert request_of(max_tokens=5, max_completion_tokens=7).options.max_tokens == 7
    assert request_of(repetition_penalty=1.2, repeat_penalty=1.1).options.repeat_penalty == 1.1
