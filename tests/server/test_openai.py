import json
import re
from typing import Any

import httpx
import pytest

HI = [{"role": "user", "content": "hi"}]


def chat(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/chat/completions", json={"model": "cria", "messages": HI, "temperature": 0, **fields})


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.endswith("data: [DONE]\n\n")
    data = [event.removeprefix("data: ") for event in response.text.split("\n\n")[:-2]]
    return [json.loads(event) for event in data]


def content(chunks: list[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_models_are_listed_and_found_by_any_case(http: httpx.Client) -> None:
    listed = http.get("/v1/models").json()
    assert listed["object"] == "list"
    [model] = [each for each in listed["data"] if each["id"] == "cria:latest"]
    assert model["owned_by"] == "library"
    assert isinstance(model["created"], int)
    assert http.get("/v1/models/Cria").json() == model


def test_a_model_id_with_slashes_reaches_the_route(http: httpx.Client) -> None:
    response = http.get("/v1/models/hf.co/me/model")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_a_plain_completion_has_every_part(http: httpx.Client) -> None:
    reply = chat(http).json()
    assert reply["object"] == "chat.completion"
    assert reply["id"].startswith("chatcmpl-")
    [choice] = reply["choices"]
    assert choice["message"]["role"] == "assistant"
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    usage = reply["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] == usage["total_tokens"]
    assert reply["puna"]["warnings"] == []
    assert reply["puna"]["context"]["prompt_tokens"] == usage["prompt_tokens"]


def test_a_stream_has_role_first_finish_alone_and_done_last(http: httpx.Client) -> None:
    chunks = events(chat(http, stream=True))
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all("role" not in chunk["choices"][0]["delta"] for chunk in chunks[1:])
    assert chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in chunks)
    assert content(chunks) == chat(http).json()["choices"][0]["message"]["content"]


def test_usage_comes_last_without_choices_when_asked_for(http: httpx.Client) -> None:
    chunks = events(chat(http, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == chat(http).json()["usage"]
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_limit_are_honoured(http: httpx.Client, name: str) -> None:
    reply = chat(http, **{name: 3}).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 3


def test_n_choices_differ_by_seed_and_repeat(http: httpx.Client) -> None:
    fields = {"n": 3, "seed": 5, "temperature": 5, "max_tokens": 15}
    first, second = (chat(http, **fields).json() for _ in range(2))
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert len(set(texts)) == 3
    assert texts == [choice["message"]["content"] for choice in second["choices"]]
    assert first["usage"]["prompt_tokens"] == 9
    streamed = events(chat(http, **fields, stream=True))
    assert [content(streamed, index) for index in range(3)] == texts


def test_a_stop_string_or_list_ends_the_text(http: httpx.Client) -> None:
    whole = chat(http).json()["choices"][0]["message"]["content"]
    for stop in (whole[6:10], ["never", whole[6:10]]):
        assert chat(http, stop=stop).json()["choices"][0]["message"]["content"] == whole[:6]


def test_a_banned_token_does_not_come(http: httpx.Client) -> None:
    whole = chat(http).json()["choices"][0]["message"]["content"]
    first = http.post(
        "/api/generate",
        json={"model": "cria", "prompt": "hi", "stream": False, "options": {"temperature": 0}},
    )
    token = first.json()["context"][9]
    changed = chat(http, logit_bias={str(token): -100}).json()["choices"][0]["message"]["content"]
    assert changed[:4] != whole[:4]


def test_content_parts_developer_role_and_nulls_are_accepted(http: httpx.Client) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "hi"}], "name": None},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "content": "ok", "tool_call_id": "1"},
        *HI,
    ]
    assert chat(http, messages=messages, seed=None, stop=None, tools=None, user="me").status_code == 200


def test_what_is_ignored_is_told(http: httpx.Client) -> None:
    response = chat(http, tools=[{"type": "web_search"}], chat_template_kwargs={"date": "now"}, bogus=1, user="me")
    warnings = response.json()["puna"]["warnings"]
    for word in ("web_search", "date", "bogus"):
        assert any(word in warning for warning in warnings), word
    assert not any("user" in warning for warning in warnings)
    assert json.loads(response.headers["x-puna-warnings"]) == warnings
    named = chat(http, messages=[{**HI[0], "name": "Ada"}]).json()
    assert "messages.name" in named["puna"]["warnings"][0]
    streamed = events(chat(http, stream=True, bogus=1))
    assert "bogus" in streamed[-1]["puna"]["warnings"][0]


def test_punas_own_fields_stand_in_the_same_body(http: httpx.Client) -> None:
    reply = chat(http, num_ctx=300, top_k=1, min_p=0.1, typical_p=1, repeat_penalty=1.1, keep_alive="5m", temperature=9)
    assert reply.json()["puna"]["context"]["limit"] == 300
    assert reply.json()["puna"]["warnings"] == []
    assert reply.json()["choices"] == chat(http, top_k=1, repetition_penalty=1.1, temperature=3).json()["choices"]


def test_ollamas_options_work_here_too(http: httpx.Client) -> None:
    reply = chat(http, options={"num_ctx": 300, "num_predict": 2}).json()
    assert reply["puna"]["context"]["limit"] == 300
    assert reply["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("fields", "status", "code", "message"),
    [
        ({"messages": []}, 400, None, "[] is too short - 'messages'"),
        ({"model": ""}, 400, None, "model is required"),
        ({"model": "nope"}, 404, "model_not_found", "model 'nope' not found"),
        ({"model": "/etc/passwd\n"}, 404, "model_not_found", "not found"),
        ({"temperature": -1}, 400, None, "temperature"),
        ({"temperature": "hot"}, 400, None, "temperature"),
        ({"max_tokens": 0}, 400, None, "max_tokens"),
        ({"n": 0}, 400, None, "n must be"),
        ({"n": 129}, 400, None, "n must be"),
        ({"top_logprobs": 21}, 400, None, "top_logprobs"),
        ({"tool_choice": "required"}, 400, None, "no tools to call"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, 400, None, "'f'"),
        ({"tool_choice": "perhaps"}, 400, None, "tool_choice"),
        ({"tools": [{"type": "function"}]}, 400, None, "needs its function"),
        ({"functions": [{"name": "f"}], "tools": [{"type": "web_search"}]}, 400, None, "old name of tools"),
        ({"guided_regex": "a", "guided_choice": ["b"]}, 400, None, "guided_regex, guided_choice"),
        ({"guided_choice": []}, 400, None, "at least one"),
        ({"guided_json": "{"}, 400, None, "not valid JSON"),
        ({"modalities": ["audio"]}, 400, None, "modalities"),
        ({"reasoning_effort": "much"}, 400, None, "reasoning_effort"),
        ({"logit_bias": {"x": 1}}, 400, None, "logit_bias"),
        ({"logit_bias": {"99999": 1}}, 400, None, "99999"),
        (
            {"messages": [{"role": "user", "content": "w " * 5000}]},
            400,
            "context_length_exceeded",
            "This model's maximum context length is",
        ),
        ({"messages": [{"role": "alien", "content": "x"}]}, 400, None, "role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            400,
            None,
            "image_url",
        ),
        ({"messages": [{"role": "user", "content": 7}]}, 400, None, "messages.0.content"),
    ],
)
def test_errors_have_openais_shape(
    http: httpx.Client, fields: dict[str, Any], status: int, code: str | None, message: str
) -> None:
    for stream in (False, True):
        response = chat(http, **fields, stream=stream)
        assert response.status_code == status
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == code
        assert message in error["message"]
        assert error["type"] == ("not_found_error" if status == 404 else "invalid_request_error")


@pytest.mark.parametrize(
    "path", ["/v1/audio/transcriptions", "/v1/audio/speech", "/v1/images/generations", "/v1/moderations", "/v1/uploads"]
)
def test_what_is_not_here_says_so_and_is_no_error_of_the_server(http: httpx.Client, path: str) -> None:
    response = http.post(path, files={"file": b"RIFF"}, data={"model": "cria"})
    assert response.status_code == 404
    error = response.json()["error"]
    assert (error["code"], error["message"]) == ("unknown_url", f"there is no {path} here")


def test_even_the_routers_own_errors_have_openais_shape(http: httpx.Client) -> None:
    for response, status in ((http.get("/v1/nope"), 404), (http.put("/v1/chat/completions"), 405)):
        assert response.status_code == status
        assert response.json()["error"]["message"]
    assert http.post("/v1/chat/completions", content=b"{").json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("fields", "pattern"),
    [
        ({"guided_choice": ["yes", "no (really)"]}, r"yes|no \(really\)"),
        ({"guided_regex": "[ab]{4}"}, "[ab]{4}"),
        ({"guided_json": '{"enum": ["a", "b"]}'}, '"[ab]"'),
        ({"json_schema": {"const": 7}}, "7"),
        # as Vercel's AI SDK sends it
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "response",
                        "strict": True,
                        "schema": {"$schema": "http://json-schema.org/draft-07/schema#", "const": 6},
                    },
                }
            },
            "6",
        ),
        ({"structured_outputs": {"choice": ["x", "y"]}}, "[xy]"),
        ({"structured_outputs": {"json": {"const": 8}}}, "8"),
        ({"structured_outputs": {"grammar": 'root ::= "a" [0-9] "b"'}}, "a[0-9]b"),
        ({"grammar": 'root ::= "a" [0-9] "b"'}, "a[0-9]b"),
        ({"response_format": {"type": "grammar", "grammar": 'root ::= "a" [0-9] "b"'}}, "a[0-9]b"),
        ({"response_format": {"type": "json_object", "schema": {"const": 9}}}, "9"),
    ],
)
def test_an_answer_is_held_to_what_other_servers_clients_ask_for(
    http: httpx.Client, fields: dict[str, Any], pattern: str
) -> None:
    reply = chat(http, **fields, temperature=2, seed=1).json()
    assert re.fullmatch(pattern, reply["choices"][0]["message"]["content"])
    assert reply["puna"]["grammar_enforced"] is True
    assert reply["puna"]["warnings"] == []
