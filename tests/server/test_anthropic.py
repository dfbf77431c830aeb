"""Anthropic's dialect: bodies to requests, answers to blocks and events, errors in its shape."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.chat import AUTO, Message, Tool, ToolCall, ToolChoice
from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, Delta
from puna.server.anthropic import Stream
from puna.server.anthropic_models import page
from puna.server.anthropic_requests import MessagesBody
from puna.server.body import check
from puna.store import LocalModel, Store

HI = [{"role": "user", "content": "hi"}]
WEATHER = {"name": "weather", "description": "The weather.", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Lima"}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]}


def ask(http: httpx.Client, **fields: Any) -> httpx.Response:
    body = {"model": "cria", "max_tokens": 60, "messages": HI, "temperature": 0, **fields}
    return http.post("/v1/messages", json=body)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for event in response.text.split("\n\n")[:-1]:
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def request(**fields: Any) -> tuple[ChatRequest, tuple[str, ...]]:
    return check({"model": "cria", "max_tokens": 60, "messages": HI, **fields}, MessagesBody).request()


def test_a_plain_message_has_every_part(http: httpx.Client) -> None:
    response = ask(http)
    reply = response.json()
    assert (reply["type"], reply["role"], reply["model"]) == ("message", "assistant", "cria")
    assert reply["id"].startswith("msg_")
    assert response.headers["request-id"] == f"req_{reply['id'].removeprefix('msg_')}"
    [block] = reply["content"]
    assert block["type"] == "text"
    assert block["text"]
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("end_turn", None)
    usage, puna = reply["usage"], reply["puna"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == puna["context"]["prompt_tokens"]
    assert usage["output_tokens"] > 0


def test_a_stream_is_the_same_message_in_order(http: httpx.Client) -> None:
    whole, streamed = ask(http).json(), events(ask(http, stream=True))
    kinds = [event["type"] for event in streamed]
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[3:-3]) == {"content_block_delta"}
    text = "".join(event["delta"]["text"] for event in streamed[3:-3])
    assert [{"type": "text", "text": text}] == whole["content"]
    assert streamed[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert streamed[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


def test_message_start_has_the_true_count_of_the_prompt(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": "a b c d e f g " * 20}]
    counted = http.post("/v1/messages/count_tokens", json={"model": "cria", "messages": messages}).json()
    started = events(ask(http, messages=messages, stream=True))[0]["message"]
    assert started["usage"]["input_tokens"] == counted["input_tokens"] > 100
    assert (started["content"], started["stop_reason"]) == ([], None)


def test_what_is_counted_includes_what_would_not_fit(http: httpx.Client) -> None:
    rounds = [{"role": "user", "content": "word " * 60}, {"role": "assistant", "content": "yes"}] * 9
    body = {"model": "cria", "messages": [*rounds, *HI]}
    whole = http.post("/v1/messages/count_tokens", json=body).json()["input_tokens"]
    cut = http.post("/v1/messages/count_tokens", json={**body, "options": {"num_ctx": 300}})
    assert cut.json()["input_tokens"] == whole
    assert json.loads(cut.headers["x-puna-context"])["dropped_messages"]


def test_the_stop_sequence_that_ended_it_is_named(http: httpx.Client) -> None:
    text = ask(http).json()["content"][0]["text"]
    reply = ask(http, stop_sequences=["never", text[6:10]]).json()
    assert (reply["stop_reason"], reply["stop_sequence"]) == ("stop_sequence", text[6:10])
    assert reply["content"][0]["text"] == text[:6]


def test_the_ends_by_length_differ(http: httpx.Client) -> None:
    assert ask(http, max_tokens=2).json()["stop_reason"] == "max_tokens"
    reply = ask(http, max_tokens=5000, options={"num_ctx": 16}).json()
    assert reply["stop_reason"] == "model_context_window_exceeded"


def test_an_answer_goes_on_with_what_the_assistant_has_begun(http: httpx.Client) -> None:
    text = ask(http).json()["content"][0]["text"]
    begun = [*HI, {"role": "assistant", "content": text[:6]}]
    assert text[:6] + ask(http, messages=begun).json()["content"][0]["text"] == text


def test_a_model_that_cannot_think_says_so_and_answers(http: httpx.Client) -> None:
    if "thinking" in http.post("/api/show", json={"model": "cria"}).json()["capabilities"]:
        pytest.skip("it can")
    thinking = {"type": "enabled", "budget_tokens": 1024}
    reply = ask(http, thinking=thinking).json()
    assert reply["content"][0]["type"] == "text"
    assert any("does not support thinking" in warning for warning in reply["puna"]["warnings"])
    assert ask(http, thinking=thinking, puna={"strict": True}).status_code == 400


def test_max_tokens_0_computes_the_prompt_only(http: httpx.Client) -> None:
    reply = ask(http, max_tokens=0).json()
    assert (reply["content"], reply["usage"]["output_tokens"]) == ([], 0)
    assert [event["type"] for event in events(ask(http, max_tokens=0, stream=True))] == [
        "message_start", "ping", "message_delta", "message_stop",
    ]  # fmt: skip


def test_an_answer_keeps_to_a_schema(http: httpx.Client) -> None:
    properties = {"legs": {"type": "integer", "maximum": 9}}
    schema = {"type": "object", "properties": properties, "required": ["legs"], "additionalProperties": False}
    reply = ask(http, max_tokens=200, output_config={"format": {"type": "json_schema", "schema": schema}}).json()
    assert set(json.loads(reply["content"][0]["text"])) == {"legs"}
    assert reply["puna"]["grammar_enforced"]


def test_what_is_ignored_is_told_and_refused_in_strict_mode(http: httpx.Client) -> None:
    fields: dict[str, Any] = {
        "bogus": 1,
        "messages": [{"role": "user", "content": "hi", "odd": 1}],
        "thinking": {"type": "disabled", "budget_tokens": 1024},
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}],
        "metadata": {"user_id": "me"},
    }
    response = ask(http, **fields)
    warnings = response.json()["puna"]["warnings"]
    for word in ("'bogus'", "messages.odd", "web_search"):
        assert any(word in warning for warning in warnings), word
    assert not any("metadata" in warning for warning in warnings)
    assert json.loads(response.headers["x-puna-warnings"]) == warnings
    assert events(ask(http, **fields, stream=True))[-2]["puna"]["warnings"] == warnings
    assert ask(http, **fields, puna={"strict": True}).status_code == 400


@pytest.mark.parametrize(
    ("fields", "status", "kind", "message"),
    [
        ({"model": "nope"}, 404, "not_found_error", "nope"),
        ({"model": ""}, 400, "invalid_request_error", "model is required"),
        ({"messages": []}, 400, "invalid_request_error", "at least one message"),
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens"),
        ({"max_tokens": -1}, 400, "invalid_request_error", "max_tokens"),
        ({"temperature": "hot"}, 400, "invalid_request_error", "temperature"),
        ({"tool_choice": {"type": "tool"}}, 400, "invalid_request_error", "tool_choice"),
        ({"thinking": {"type": "wild"}}, 400, "invalid_request_error", "thinking.type"),
        ({"output_config": {"effort": "much"}}, 400, "invalid_request_error", "effort"),
        ({"output_config": {"format": {"type": "xml"}}}, 400, "invalid_request_error", "json_schema"),
        ({"tools": [{"name": "f"}]}, 400, "invalid_request_error", "input_schema"),
        ({"messages": [{"role": "alien", "content": "x"}]}, 400, "invalid_request_error", "role"),
        ({"messages": [{"role": "user", "content": [RESULT]}]}, 400, "invalid_request_error", "tool_use_id"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            400,
            "invalid_request_error",
            "nothing is fetched",
        ),
        (
            {"messages": [{"role": "user", "content": "w " * 5000}]},
            400,
            "invalid_request_error",
            "prompt is too long",
        ),
    ],
)
def test_errors_have_anthropics_shape(
    http: httpx.Client, fields: dict[str, Any], status: int, kind: str, message: str
) -> None:
    for stream in (False, True):
        response = ask(http, **fields, stream=stream)
        assert response.status_code == status
        reply = response.json()
        assert set(reply) == {"type", "error", "request_id"}
        assert reply["type"] == "error"
        assert reply["error"]["type"] == kind
        assert message in reply["error"]["message"]


def test_even_the_routers_own_errors_have_anthropics_shape(http: httpx.Client) -> None:
    for response, status in ((http.get("/v1/messages"), 405), (http.post("/v1/messages/batches"), 404)):
        assert response.status_code == status
        assert response.json()["type"] == "error"
    assert http.post("/v1/messages", content=b"{").json()["error"]["type"] == "invalid_request_error"


def test_a_conversation_with_tools_becomes_the_runtimes_messages() -> None:
    asked, warnings = request(
        system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind.", "cache_control": {}}],
        messages=[
            *HI,
            {"role": "user", "content": [{"type": "text", "text": "Lima?", "cache_control": {"type": "ephemeral"}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": ""},
                    {"type": "text", "text": "I look."},
                    CALL,
                ],
            },
            {"role": "user", "content": [RESULT, {"type": "text", "text": "and?"}]},
            {"role": "assistant", "content": [{**CALL, "id": "t2"}]},
            {"role": "user", "content": [{**RESULT, "tool_use_id": "t2", "content": "no", "is_error": True}]},
        ],
        tools=[WEATHER],
        tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    )
    assert warnings == ()
    assert asked.messages == (
        Message("system", "Be brief.\nBe kind."),
        Message("user", "hi\nLima?"),
        Message("assistant", "I look.", "Hm.", (ToolCall("t1", "weather", {"city": "Lima"}),)),
        Message("tool", "sunny", tool_call_id="t1", tool_name="weather"),
        Message("user", "and?"),
        Message("assistant", "", None, (ToolCall("t2", "weather", {"city": "Lima"}),)),
        Message("tool", "Error: no", tool_call_id="t2", tool_name="weather"),
    )
    assert asked.tools == (Tool("weather", "The weather.", {"type": "object"}),)
    assert (asked.tool_choice, asked.parallel_tool_calls) == (ToolChoice("required", "weather"), False)


@pytest.mark.parametrize(
    ("choice", "meant"),
    [("auto", AUTO), ("any", ToolChoice("required")), ("none", ToolChoice("none"))],
)
def test_each_tool_choice_is_the_runtimes(choice: str, meant: ToolChoice) -> None:
    asked, _ = request(tools=[WEATHER], tool_choice={"type": choice})
    assert (asked.tool_choice, asked.parallel_tool_calls) == (meant, True)


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, True),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, False),
        ({"output_config": {"effort": "xhigh"}}, "max"),
    ],
)
def test_thinking_is_asked_for_or_off(fields: dict[str, Any], think: object) -> None:
    assert request(**fields)[0].think == think


def test_a_text_document_is_read_and_any_other_refused() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "Llamas hum."}
    document = {"type": "document", "title": "Sounds", "source": source}
    assert request(messages=[{"role": "user", "content": [document]}])[0].messages[0].content == "Sounds\nLlamas hum."
    with pytest.raises(InvalidRequest, match="document"):
        request(messages=[{"role": "user", "content": [{**document, "source": {"type": "base64"}}]}])


PIECES = st.builds(
    Delta,
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "x"]),
    st.lists(st.just(ToolCall("t", "f", {"n": 1})), max_size=2).map(tuple),
)


@given(st.lists(PIECES, max_size=6))
def test_blocks_of_a_stream_open_and_close_in_order_and_lose_nothing(deltas: list[Delta]) -> None:
    stream = Stream()
    found = [event for delta in deltas for event in stream.delta(delta)] + stream.close()
    blocks: list[dict[str, Any]] = []
    is_open = False
    for event in found:
        if event["type"] == "content_block_start":
            assert not is_open
            assert event["index"] == len(blocks)
            blocks.append({**event["content_block"], "pieces": ""})
        assert event["index"] == len(blocks) - 1
        is_open = event["type"] != "content_block_stop"
        if event["type"] == "content_block_delta":
            [(_, kind), (_, piece)] = event["delta"].items()
            expected = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}
            assert kind == expected[blocks[-1]["type"]]
            blocks[-1]["pieces"] += piece
    assert not is_open
    for kind, whole in (
        ("text", "".join(delta.text for delta in deltas)),
        ("thinking", "".join(delta.thinking for delta in deltas)),
        ("tool_use", '{"n":1}' * sum(len(delta.tool_calls) for delta in deltas)),
    ):
        assert "".join(block["pieces"] for block in blocks if block["type"] == kind) == whole


NAMES = [f"m{number}" for number in range(7)]


def models_named(names: list[str]) -> list[LocalModel]:
    cria = Store().resolve("cria")
    return [replace(cria, name=name) for name in names]


@given(st.integers(1, 8), st.booleans())
def test_pages_of_models_follow_one_another_either_way(limit: int, backwards: bool) -> None:
    seen: list[str] = []
    query = {"limit": str(limit), **({"before_id": NAMES[-1]} if backwards else {})}
    while True:
        found = page(models_named(NAMES), query)
        ids = [model["id"] for model in found["data"]]
        assert len(ids) <= limit
        assert (found["first_id"], found["last_id"]) == (ids[0], ids[-1])
        seen = [*ids, *seen] if backwards else [*seen, *ids]
        if not found["has_more"]:
            break
        query = {"limit": str(limit), **({"before_id": ids[0]} if backwards else {"after_id": ids[-1]})}
    assert seen == (NAMES[:-1] if backwards else NAMES)


def test_a_page_of_no_models_and_from_an_unknown_one() -> None:
    assert page([], {}) == {"data": [], "first_id": None, "last_id": None, "has_more": False}
    with pytest.raises(InvalidRequest, match="no model 'x'"):
        page(models_named(NAMES), {"after_id": "x"})


@pytest.mark.parametrize("path", ["/v1/models/nope", "/v1/complete", "/v1/messages/batches"])
def test_errors_are_in_the_shape_of_whoever_asks(http: httpx.Client, path: str) -> None:
    theirs = http.get(path, headers={"anthropic-version": "2023-06-01"})
    assert (theirs.status_code, theirs.json()["type"]) == (404, "error")
    assert theirs.json()["error"]["type"] == "not_found_error"
    if path != "/v1/messages/batches":
        assert set(http.get(path).json()["error"]) == {"message", "type", "param", "code"}


def test_blocks_that_no_model_here_can_read_are_left_out_and_told() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "llamas"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "text", "text": "They hum."},
    ]
    asked, warnings = request(messages=[*HI, {"role": "assistant", "content": blocks}, *HI])
    assert asked.messages[1] == Message("assistant", "They hum.")
    assert [warning.split("'")[1] for warning in warnings] == [block["type"] for block in blocks[:3]]
