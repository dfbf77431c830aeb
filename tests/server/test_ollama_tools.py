"""Tools and thoughts in Ollama's dialect, with a model whose template has both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from puna.chat import Message, ToolCall
from puna.server.body import check
from puna.server.ollama_requests import ChatBody
from tests.server.variant import THINKER, TOOLS, served_variant

HI = [{"role": "user", "content": "hi"}]
CALL: dict[str, Any] = {"tools": TOOLS, "tool_choice": "required", "think": False}
PET = {"type": "object", "properties": {"legs": {"enum": [2, 4]}}, "required": ["legs"], "additionalProperties": False}


@pytest.fixture(scope="module")
def thinker(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served_variant(http, tmp_path_factory.mktemp("thinker") / "thinker.gguf", THINKER) as name:
        yield name


def ask(http: httpx.Client, path: str, model: str, **fields: Any) -> list[dict[str, Any]]:
    body = {"model": model, "options": {"temperature": 0, "num_predict": 120}, **fields}
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def chat(http: httpx.Client, model: str, **fields: Any) -> list[dict[str, Any]]:
    return ask(http, "/api/chat", model, **{"messages": HI, **fields})


def test_a_calls_arguments_are_an_object_on_a_part_that_is_not_the_last(http: httpx.Client, thinker: str) -> None:
    *pieces, last = chat(http, thinker, **CALL)
    calls = [call for piece in pieces for call in piece["message"].get("tool_calls", [])]
    assert [call["function"]["index"] for call in calls] == list(range(len(calls)))
    assert calls[0]["id"].startswith("call_")
    assert calls[0]["function"]["name"] == "add"
    assert calls[0]["function"]["arguments"].keys() == {"a", "b"}
    assert "tool_calls" not in last["message"]
    assert last["grammar_enforced"] is True
    assert last["done_reason"] in ("stop", "length")


def test_the_plain_reply_has_all_calls_in_its_message(http: httpx.Client, thinker: str) -> None:
    [reply] = chat(http, thinker, stream=False, **CALL)
    calls = reply["message"]["tool_calls"]
    assert calls[0]["function"]["arguments"].keys() == {"a", "b"}
    assert [call["function"]["index"] for call in calls] == list(range(len(calls)))


def test_a_model_without_tools_answers_and_says_that_it_was_not_told_of_them(http: httpx.Client) -> None:
    [reply] = chat(http, "cria", stream=False, tools=TOOLS)
    assert reply["message"]["content"]
    assert any("tools" in warning for warning in reply["warnings"])


def test_thoughts_are_apart_from_the_text(http: httpx.Client, thinker: str) -> None:
    *pieces, _ = chat(http, thinker)
    assert "".join(piece["message"].get("thinking", "") for piece in pieces)
    assert all(piece["message"]["content"] == "" for piece in pieces)
    [whole] = chat(http, thinker, stream=False, think=False)
    assert whole["message"]["content"]
    assert "thinking" not in whole["message"]
    *pieces, _ = ask(http, "/api/generate", thinker, prompt="hi", think=True)
    assert "".join(piece.get("thinking", "") for piece in pieces)


def test_a_level_that_the_model_does_not_know_is_told(http: httpx.Client, thinker: str) -> None:
    [reply] = chat(http, thinker, stream=False, think="low")
    assert any("levels of thinking" in warning for warning in reply["warnings"])


def test_a_format_holds_the_text_after_the_thought_was_switched_off(http: httpx.Client, thinker: str) -> None:
    [reply] = chat(http, thinker, stream=False, format=PET, think=False)
    assert json.loads(reply["message"]["content"])["legs"] in (2, 4)
    assert reply["grammar_enforced"] is True
    assert "grammar_enforced" not in chat(http, thinker, stream=False, think=False)[0]


def test_results_as_langchain_sends_them_find_their_calls() -> None:
    """It sends neither ids nor names, and no content beside calls; templates want one or the other."""
    calls: list[dict[str, Any]] = [{"function": {"name": name, "arguments": {}}} for name in ("one", "two", "three")]
    messages = [*HI, {"role": "assistant", "tool_calls": calls}]
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "3", "tool_name": "three"}]
    body = check({"model": "m", "messages": [*messages, *results, {"role": "tool", "content": "2"}]}, ChatBody)
    asked, warnings = body.request()
    assert warnings == ()
    assert [message.tool_name for message in asked.messages[2:]] == ["one", "three", "two"]
    assert asked.messages[1] == Message(
        "assistant", "", None, tuple(ToolCall(None, n) for n in ("one", "two", "three"))
    )


def test_ids_tie_results_to_their_calls() -> None:
    calls: list[dict[str, Any]] = [{"id": name, "function": {"name": f"f{name}", "arguments": {}}} for name in "ab"]
    messages = [*HI, {"role": "assistant", "tool_calls": calls}]
    results = [{"role": "tool", "content": "x", "tool_call_id": "b"}, {"role": "tool", "content": "y"}]
    asked, _ = check({"model": "m", "messages": [*messages, *results]}, ChatBody).request()
    assert [(message.tool_call_id, message.tool_name) for message in asked.messages[2:]] == [("b", "fb"), ("a", "fa")]


def test_a_result_without_a_call_is_left_as_it_is() -> None:
    asked, _ = check({"model": "m", "messages": [*HI, {"role": "tool", "content": "x"}]}, ChatBody).request()
    assert asked.messages[1] == Message("tool", "x")
