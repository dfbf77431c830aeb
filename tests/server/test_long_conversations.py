"""300 rounds on a small context, asked for in each dialect: what is kept, what goes, and what is said of it.

The rendered prompt is Ollama's `_debug_render_only`. That the other dialects lead to the same prompt is seen by its
count of tokens and by the prefix cache, which must know all its full blocks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from puna.chat import Message, Tool
from puna.models import BLOCK_SIZE
from puna.runtime import TextModel
from puna.store import Store
from tests.runtime.rounds import TOOLS, check, conversation
from tests.server.variant import CALLER, served_variant

Body = dict[str, Any]
Messages = Sequence[Message]
Tools = Sequence[Tool]


@pytest.fixture(scope="module")
def model(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextModel]:
    with served_variant(http, tmp_path_factory.mktemp("rounds") / "caller.gguf", CALLER) as name:
        yield TextModel.open(Store().resolve(name))


def functions(tools: Tools) -> list[Body]:
    return [tool.to_dict() for tool in tools]


def ollama(messages: Messages, tools: Tools, context: int) -> Body:
    return {
        "messages": [_ollama(message) for message in messages],
        "tools": functions(tools),
        "stream": False,
        "options": {"num_ctx": context, "num_predict": 1},
    }


def _ollama(message: Message) -> Body:
    calls = [
        {**({"id": call.id} if call.id else {}), "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.tool_calls
    ]
    result = {"tool_call_id": message.tool_call_id} if message.tool_call_id else {}
    return {"role": message.role, "content": message.content, **result, **({"tool_calls": calls} if calls else {})}


def openai(messages: Messages, tools: Tools, context: int) -> Body:
    return {
        "messages": [_openai(message) for message in messages],
        "tools": functions(tools),
        "max_completion_tokens": 1,
        "num_ctx": context,
    }


def _openai(message: Message) -> Body:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for call in message.tool_calls
    ]
    result = {"tool_call_id": message.tool_call_id} if message.tool_call_id else {}
    return {
        "role": message.role, "content": message.content or None, **result, **({"tool_calls": calls} if calls else {}),
    }  # fmt: skip


def responses(messages: Messages, tools: Tools, context: int) -> Body:
    return {
        "input": [item for message in messages for item in _items(message)],
        "tools": [{"type": "function", **tool.to_dict()["function"]} for tool in tools],  # type: ignore[dict-item]
        "max_output_tokens": 1,
        "num_ctx": context,
        "store": False,
    }


def _items(message: Message) -> Iterator[Body]:
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}
    elif message.content:
        yield {"role": message.role, "content": message.content}
    for call in message.tool_calls:
        yield {
            "type": "function_call", "call_id": call.id, "name": call.name, "arguments": json.dumps(call.arguments),
        }  # fmt: skip


def anthropic(messages: Messages, tools: Tools, context: int) -> Body:
    return {
        "system": [{"type": "text", "text": message.content} for message in messages if message.role == "system"],
        "messages": [_anthropic(message) for message in messages if message.role != "system"],
        "tools": [
            {"name": tool.name, "description": tool.description, "input_schema": tool.parameters} for tool in tools
        ],
        "max_tokens": 1,
        "options": {"num_ctx": context},
    }


def _anthropic(message: Message) -> Body:
    if message.role == "tool":
        block = {"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content}
        return {"role": "user", "content": [block]}
    calls = [
        {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in message.tool_calls
    ]
    text = [{"type": "text", "text": message.content}] if message.content else []
    return {"role": message.role, "content": [*text, *calls]}


def reported(reply: Mapping[str, Any]) -> tuple[Body, int, int]:
    """The report of the context, the prompt's tokens as the usage counts them, and how many of them were cached."""
    if "message" in reply:
        return reply["context"], reply["prompt_eval_count"], reply["cache"]["cached_tokens"]
    usage, report = reply["usage"], reply["puna"]["context"]
    if "cache_read_input_tokens" in usage:
        cached = usage["cache_read_input_tokens"]
        return report, usage["input_tokens"] + cached, cached
    details = usage.get("prompt_tokens_details") or usage["input_tokens_details"]
    return report, usage.get("prompt_tokens") or usage["input_tokens"], details["cached_tokens"]


DIALECTS: dict[str, Callable[[Messages, Tools, int], Body]] = {
    "/api/chat": ollama,
    "/v1/chat/completions": openai,
    "/v1/responses": responses,
    "/v1/messages": anthropic,
}


@given(
    seed=st.integers(0, 2**32), context=st.integers(300, 1100), system=st.booleans(), tools=st.booleans(),
    first=st.sampled_from(sorted(DIALECTS)),
)  # fmt: skip
@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_dialect_keeps_the_same_rounds_and_reports_exactly_what_went(
    http: httpx.Client, model: TextModel, seed: int, context: int, system: bool, tools: bool, first: str
) -> None:
    messages, offered = conversation(Random(seed), system=system, named=True), TOOLS if tools else ()
    name = {"model": str(model.local.path)}
    body = {**name, **ollama(messages, offered, context)}
    shown = http.post("/api/chat", json={**body, "_debug_render_only": True})
    text = shown.json()["_debug_info"]["rendered_template"]
    told = json.loads(shown.headers["x-puna-context"])
    check(model, messages, offered, text, told, think=None)
    assert told["limit"] == context
    blocks = (len(model.encode(text)) - 1) // BLOCK_SIZE * BLOCK_SIZE
    for path in sorted(DIALECTS, key=lambda path: path != first):
        reply = http.post(path, json={**name, **DIALECTS[path](messages, offered, context)})
        report, tokens, cached = reported(reply.json())
        assert report == told == json.loads(reply.headers["x-puna-context"]), path
        assert tokens == told["prompt_tokens"], path
        assert path == first or cached == blocks, f"{path}: another prompt than {first}'s"
    rendered = http.post(
        "/v1/chat/completions", json={**name, **openai(messages, offered, context), "_debug_render_only": True}
    )
    assert rendered.json()["_debug_info"]["rendered_template"] == text


@pytest.mark.parametrize("path", DIALECTS)
def test_a_conversation_that_may_not_be_cut_is_refused_with_the_numbers(
    http: httpx.Client, model: TextModel, path: str
) -> None:
    body = DIALECTS[path](conversation(Random(3), system=True, named=True), TOOLS, 500)
    reply = http.post(path, json={"model": str(model.local.path), **body, "puna": {"history": "error"}})
    assert reply.status_code == 400
    assert "the limit is 499" in reply.text
