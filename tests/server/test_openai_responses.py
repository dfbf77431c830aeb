"""/v1/responses: items in, items and events out."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from puna.chat import Message, ToolCall
from puna.errors import InvalidRequest
from puna.runtime import Delta
from puna.server.openai.response_events import Output
from puna.server.openai.response_items import items_of, messages_of

Event = TypeAdapter[Any](ResponseStreamEvent)
CALL = {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a": 1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "3"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}


def respond(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/responses", json={"model": "cria", "temperature": 0, "input": "hi", **fields})


def events_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    events = []
    for text in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = text.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def rebuilt(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The output items that a client puts together from the pieces of text alone."""
    items: list[dict[str, Any]] = []
    for event in events:
        match event["type"].split(".")[1:]:
            case ["output_item", "added"]:
                items.append({"type": event["item"]["type"], "text": ""})
            case [_, "delta"]:
                items[event["output_index"]]["text"] += event["delta"]
            case ["output_item", "done"]:
                items[event["output_index"]]["done"] = event["item"]
    return items


def text_of(item: dict[str, Any]) -> str:
    parts = item.get("content") or item.get("summary") or [{"text": item.get("arguments")}]
    return "".join(part["text"] for part in parts)


def test_a_response_is_what_openais_own_types_say(http: httpx.Client) -> None:
    reply = respond(http, metadata={"a": "b"}, instructions="Be brief.").json()
    parsed = Response.model_validate(reply)
    assert parsed.status == "completed"
    assert parsed.output_text
    assert parsed.usage is not None
    assert parsed.usage.total_tokens == parsed.usage.input_tokens + parsed.usage.output_tokens
    assert reply["metadata"] == {"a": "b"}
    assert reply["instructions"] == "Be brief."
    assert reply["puna"]["warnings"] == []


def test_a_stream_is_the_same_response_in_events_openais_types_know(http: httpx.Client) -> None:
    events = events_of(respond(http, stream=True, include=["message.output_text.logprobs"]))
    for event in events:
        Event.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    whole = respond(http, include=["message.output_text.logprobs"]).json()
    streamed = events[-1]["response"]
    assert text_of(streamed["output"][0]) == text_of(whole["output"][0])
    assert streamed["output"][0]["content"][0]["logprobs"] == whole["output"][0]["content"][0]["logprobs"]
    assert streamed["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert [text_of(item["done"]) for item in rebuilt(events)] == [item["text"] for item in rebuilt(events)]


def test_a_response_cut_short_is_incomplete(http: httpx.Client) -> None:
    reply = respond(http, max_output_tokens=3).json()
    assert reply["status"] == "incomplete"
    assert reply["incomplete_details"] == {"reason": "max_output_tokens"}
    assert reply["usage"]["output_tokens"] == 3
    assert events_of(respond(http, max_output_tokens=3, stream=True))[-1]["type"] == "response.incomplete"


def test_the_text_is_held_to_a_schema(http: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 9}},
        "required": ["n"],
        "additionalProperties": False,
    }
    text = {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    reply = respond(http, text=text).json()
    assert set(json.loads(text_of(reply["output"][0]))) == {"n"}
    assert Response.model_validate(reply).text is not None


def test_a_conversation_goes_on_from_a_stored_response(http: httpx.Client) -> None:
    first = respond(http).json()
    second = respond(http, input="who are you?", previous_response_id=first["id"]).json()
    spoken = [{"role": "user", "content": "hi"}, *first["output"], {"role": "user", "content": "who are you?"}]
    told = respond(http, input=spoken, store=False).json()
    assert second["usage"]["input_tokens"] == told["usage"]["input_tokens"] > first["usage"]["input_tokens"]
    assert text_of(second["output"][0]) == text_of(told["output"][0])
    third = respond(http, input="bye", previous_response_id=second["id"]).json()
    items = http.get(f"/v1/responses/{third['id']}/input_items", params={"order": "asc"}).json()["data"]
    assert [item.get("role") for item in items] == ["user", "assistant", "user", "assistant", "user"]
    referred = [
        {"role": "user", "content": "hi"},
        {"type": "item_reference", "id": first["output"][0]["id"]},
        {"role": "user", "content": "who are you?"},
    ]
    assert respond(http, input=referred).json()["usage"]["input_tokens"] == second["usage"]["input_tokens"]


def test_a_stored_response_is_found_and_forgotten(http: httpx.Client) -> None:
    made = events_of(respond(http, stream=True))[-1]["response"]
    path = f"/v1/responses/{made['id']}"
    assert http.get(path).json() == made
    assert http.delete(path).json() == {"id": made["id"], "object": "response", "deleted": True}
    assert http.get(path).status_code == 404
    kept_nowhere = respond(http, store=False).json()
    assert kept_nowhere["store"] is False
    assert http.get(f"/v1/responses/{kept_nowhere['id']}").status_code == 404


def test_input_tokens_are_what_the_response_then_counts(http: httpx.Client) -> None:
    body = {"model": "cria", "input": "hi", "instructions": "Be brief."}
    counted = http.post("/v1/responses/input_tokens", json=body).json()
    assert counted["object"] == "response.input_tokens"
    assert counted["input_tokens"] == respond(http, instructions="Be brief.").json()["usage"]["input_tokens"]


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"input": []}, 400, "input is required"),
        ({"input": [{"type": "computer_call"}]}, 400, "computer_call"),
        ({"input": [{"type": "message"}]}, 400, "input.0.role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, 400, "input_image"),
        ({"input": [{**CALL, "arguments": "{"}]}, 400, "arguments"),
        ({"input": [{"type": "item_reference", "id": "msg_1_0"}]}, 404, "resp_1"),
        ({"previous_response_id": "resp_nope"}, 404, "resp_nope"),
        ({"model": "nope"}, 404, "not found"),
        ({"model": ""}, 400, "model is required"),
        ({"background": True}, 400, "background"),
        ({"conversation": "c"}, 400, "conversation"),
        ({"truncation": "perhaps"}, 400, "truncation"),
        ({"max_output_tokens": 0}, 400, "max_output_tokens"),
        ({"tool_choice": "required"}, 400, "no tools"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, 400, "schema"),
        ({"input": "w " * 5000}, 400, "maximum context length"),
    ],
)
def test_what_cannot_be_done_is_refused_in_openais_shape(
    http: httpx.Client, fields: dict[str, Any], status: int, message: str
) -> None:
    for stream in (False, True):
        response = respond(http, **fields, stream=stream)
        assert response.status_code == status, response.text
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        assert message in response.json()["error"]["message"]


def test_truncation_drops_the_oldest_or_refuses(http: httpx.Client) -> None:
    long = [{"role": role, "content": "w " * 60} for role in ("user", "assistant") * 3]
    fields = {"input": [*long, {"role": "user", "content": "hi"}], "num_ctx": 256}
    reply = respond(http, **fields, truncation="auto").json()
    assert reply["puna"]["context"]["dropped_messages"] > 0
    refused = respond(http, **fields, truncation="disabled").json()
    assert refused["error"]["code"] == "context_length_exceeded"


def test_what_is_ignored_is_told(http: httpx.Client) -> None:
    fields = {"include": ["reasoning.encrypted_content"], "tools": [{"type": "web_search"}], "bogus": 1}
    item = {"role": "user", "content": "hi", "mood": "good"}
    warnings = respond(http, **fields, text={"verbosity": "low"}, input=[item]).json()["puna"]["warnings"]
    for word in ("encrypted_content", "web_search", "'bogus'", "verbosity", "input.mood"):
        assert any(word in warning for warning in warnings), word
    assert len(warnings) == 5


def test_the_items_of_one_turn_become_one_message() -> None:
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]}
    items = items_of([{"role": "user", "content": "1 + 2?"}, THOUGHT, said, CALL, RESULT, THOUGHT, said])
    user, turn, result, last = messages_of(None, items)
    assert user == Message("user", "1 + 2?")
    assert turn == Message("assistant", "Let me see.", "hm", (ToolCall("c1", "add", {"a": 1}),))
    assert result == Message("tool", "3", tool_call_id="c1", tool_name="add")
    assert last == Message("assistant", "Let me see.", "hm")


def test_two_answers_in_a_row_stay_two_and_instructions_join_the_system_message() -> None:
    said = {"role": "assistant", "content": "a"}
    first = {"role": "developer", "content": "d"}
    assert [each.content for each in messages_of("i", items_of([first, said, said]))] == ["i\n\nd", "a", "a"]
    assert messages_of("i", items_of([said]))[0] == Message("system", "i")
    with pytest.raises(InvalidRequest, match=r"input\.0\.call_id"):
        items_of([{"type": "function_call", "name": "f"}])


@pytest.mark.parametrize("summarized", [False, True])
def test_thoughts_text_and_calls_are_items_of_their_own(summarized: bool) -> None:
    output = Output("a1", summarized=summarized, namespaces={})
    pieces = [
        Delta("", thinking="I th"),
        Delta("", thinking="ink"),
        Delta("Calling"),
        Delta(" now", tool_calls=(ToolCall("c1", "add", {"a": 1}), ToolCall("c2", "add", {"a": "\u2028"}))),
        Delta("Done"),
    ]
    events = [event for piece in pieces for event in output.take(piece)] + output.finish("incomplete")
    for number, event in enumerate(events):
        Event.validate_python({**event, "sequence_number": number})
    assert [item["type"] for item in output.items] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "message",
    ]
    assert [text_of(item) for item in output.items] == [
        "I think",
        "Calling now",
        '{"a": 1}',
        '{"a": "\u2028"}',
        "Done",
    ]
    assert [item["status"] for item in output.items] == ["completed"] * 4 + ["incomplete"]
    assert bool(output.items[0]["summary"]) == summarized
    assert [item["done"] for item in rebuilt(events)] == output.items
    assert [item["text"] for item in rebuilt(events)] == [text_of(item) for item in output.items]
    assert len({item["id"] for item in output.items}) == 5


def test_searches_of_other_servers_are_left_out_and_told(http: httpx.Client) -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}}
    items = [{"role": "user", "content": "hi"}, search, {"role": "assistant", "content": "Hello."}]
    body = {"model": "cria", "input": [*items, {"role": "user", "content": "hi"}], "max_output_tokens": 2}
    assert "web_search_call" in http.post("/v1/responses", json=body).json()["puna"]["warnings"][0]
