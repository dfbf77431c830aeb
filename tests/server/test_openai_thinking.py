"""Thoughts and tool calls in OpenAI's dialect, with a model whose template has both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from puna.server.body import check
from puna.server.openai.response_requests import ResponseBody
from tests.server.variant import ADD, THINKER, TOOLS, served_variant

HI = [{"role": "user", "content": "hi"}]
CALLING = {"tools": TOOLS, "tool_choice": "required", "think": False, "parallel_tool_calls": False}


@pytest.fixture(scope="module")
def thinker(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_variant(http, tmp_path_factory.mktemp("thinker") / "thinker.gguf", THINKER) as name:
        yield name


def chat(http: httpx.Client, model: str, **fields: Any) -> dict[str, Any]:
    body = {"model": model, "messages": HI, "temperature": 0, "max_tokens": 200, **fields}
    response = http.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    return dict(response.json())


def deltas(http: httpx.Client, model: str, **fields: Any) -> tuple[list[dict[str, Any]], str]:
    """The deltas of a stream, and how it ended."""
    body = {"model": model, "messages": HI, "temperature": 0, "max_tokens": 200, "stream": True, **fields}
    text = http.post("/v1/chat/completions", json=body).text
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in text.split("\n\n")[:-2]]
    assert choices[-1]["delta"] == {}
    return [choice["delta"] for choice in choices[:-1]], choices[-1]["finish_reason"]


def test_thoughts_come_under_both_names_and_are_counted(http: httpx.Client, thinker: str) -> None:
    reply = chat(http, thinker)
    message = reply["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] != ""
    assert message["content"] == ""
    usage = reply["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"]
    streamed, _ = deltas(http, thinker)
    assert "".join(delta.get("reasoning", "") for delta in streamed) == message["reasoning"]
    assert all(delta.get("reasoning") == delta.get("reasoning_content") for delta in streamed)
    assert "".join(delta.get("content", "") for delta in streamed) == ""


@pytest.mark.parametrize("fields", [{"reasoning_effort": "none"}, {"think": False}])
def test_thinking_that_is_switched_off_leaves_text_alone(
    http: httpx.Client, thinker: str, fields: dict[str, Any]
) -> None:
    reply = chat(http, thinker, **fields)
    assert reply["choices"][0]["message"]["content"]
    assert "reasoning" not in reply["choices"][0]["message"]
    assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0
    assert reply["puna"]["warnings"] == []


@pytest.mark.parametrize(
    "fields",
    [
        {"thinking_budget": 6},
        {"thinking_token_budget": 6},
        {"reasoning": {"max_tokens": 6}},
        {"thinking": {"type": "enabled", "budget_tokens": 6}},
        {"options": {"thinking_budget": 6}},
    ],
)
def test_a_thought_ends_at_its_budget_in_every_spelling(
    http: httpx.Client, thinker: str, fields: dict[str, Any]
) -> None:
    reply = chat(http, thinker, max_tokens=40, **fields)
    assert reply["choices"][0]["message"]["content"]
    assert 0 < reply["usage"]["completion_tokens_details"]["reasoning_tokens"] <= 6
    assert reply["puna"]["thought_cut"] is True
    assert reply["puna"]["warnings"] == []


def test_a_forced_call_is_held_to_its_schema_whole_and_streamed(http: httpx.Client, thinker: str) -> None:
    reply = chat(http, thinker, **CALLING)
    [choice] = reply["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    [call] = choice["message"]["tool_calls"]
    arguments = json.loads(call["function"]["arguments"])
    assert set(arguments) == {"a", "b"}
    assert arguments["a"] <= 9
    assert reply["puna"]["grammar_enforced"] is True
    streamed, reason = deltas(http, thinker, **CALLING)
    assert reason == "tool_calls"
    start, rest = [delta["tool_calls"][0] for delta in streamed if "tool_calls" in delta]
    assert start["function"] == {"name": "add", "arguments": ""}
    assert (start["index"], start["type"]) == (0, "function")
    assert start["id"].startswith("call_")
    assert rest == {"index": 0, "function": {"arguments": call["function"]["arguments"]}}


def test_tools_that_must_not_be_called_are_not(http: httpx.Client, thinker: str) -> None:
    reply = chat(http, thinker, tools=TOOLS, tool_choice="none", think=False)
    assert reply["choices"][0]["finish_reason"] in ("stop", "length")
    assert "tool_calls" not in reply["choices"][0]["message"]


def test_a_response_has_its_thoughts_and_calls_as_items(http: httpx.Client, thinker: str) -> None:
    body: dict[str, Any] = {"model": thinker, "input": "hi", "temperature": 0, "max_output_tokens": 200}
    [thought] = http.post("/v1/responses", json=body).json()["output"]
    assert thought["type"] == "reasoning"
    assert thought["content"][0]["text"]
    [summary] = http.post("/v1/responses", json={**body, "reasoning": {"summary": "auto"}}).json()["output"]
    assert summary["summary"][0]["text"] == thought["content"][0]["text"]
    assert summary["content"] == []
    calling = {**body, **CALLING, "tools": [{"type": "function", **ADD}]}
    reply = http.post("/v1/responses", json=calling).json()
    [call] = reply["output"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "add", "completed")
    answer = {"type": "function_call_output", "call_id": call["call_id"], "output": "3"}
    after = {**body, "previous_response_id": reply["id"], "input": [answer], "think": False}
    assert http.post("/v1/responses", json=after).json()["output"][0]["type"] == "message"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": HI, "reasoning_effort": "low"}),
        ("/v1/chat/completions", {"messages": HI, "think": True, "stream": True}),
        ("/v1/responses", {"input": "hi", "reasoning": {"effort": "high", "summary": "auto"}}),
    ],
)
def test_a_model_that_cannot_think_answers_without_and_says_so(
    http: httpx.Client, path: str, fields: dict[str, Any]
) -> None:
    response = http.post(path, json={"model": "cria", **fields})
    assert response.status_code == 200
    assert "does not support thinking" in response.headers["x-puna-warnings"]
    refused = http.post(path, json={"model": "cria", **fields, "puna": {"strict": True}})
    assert "does not support thinking" in refused.json()["error"]["message"]


def test_functions_of_a_namespace_are_called_and_answered_under_both_names(http: httpx.Client, thinker: str) -> None:
    add = {"type": "function", **ADD}
    tools = [{"type": "namespace", "name": "sums", "tools": [add, {"type": "web_search"}]}]
    body = {"model": thinker, "input": "hi", "tools": tools, "think": False, "temperature": 0}
    forced = {**body, "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 200}
    reply = http.post("/v1/responses", json=forced).json()
    [call] = reply["output"]
    assert (call["type"], call["namespace"], call["name"]) == ("function_call", "sums", "add")
    assert any("web_search" in warning for warning in reply["puna"]["warnings"])
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "3"}
    again: dict[str, Any] = {**body, "input": [{"role": "user", "content": "hi"}, call, result], "max_output_tokens": 3}
    assert http.post("/v1/responses", json=again).json()["puna"]["warnings"] == [
        "tools of type 'web_search' are not supported: the model was not told of them"
    ]
    asked, _ = check(again, ResponseBody).request(again["input"])
    assert [tool.name for tool in asked.tools] == ["sums__add"]
    assert asked.messages[1].tool_calls[0].name == asked.messages[2].tool_name == "sums__add"
