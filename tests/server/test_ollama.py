import json
import re
from datetime import datetime
from typing import Any

import httpx
import pytest

GREEDY = {"temperature": 0}
HI = [{"role": "user", "content": "hi"}]
ADD = {"name": "add", "description": "Add.", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
TOOLS = [{"type": "function", "function": ADD}]


def chat(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/api/chat", json={"model": "cria", "messages": HI, "options": GREEDY, **fields})


def generate(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/api/generate", json={"model": "cria", "prompt": "hi", "options": GREEDY, **fields})


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.text.endswith("\n")
    return [json.loads(line) for line in response.text.splitlines()]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_clients_find_the_server_alive_by_either_method(http: httpx.Client, method: str, path: str) -> None:
    response = http.request(method, path)
    assert response.status_code == 200
    if method == "GET" and path == "/":
        assert response.text == "Ollama is running"


def test_open_webui_can_read_every_part_of_the_version_as_a_number(http: httpx.Client) -> None:
    version = http.get("/api/version").json()["version"]
    assert [int(part) for part in version.split(".")]


def test_tags_carry_what_clients_read(http: httpx.Client) -> None:
    [model] = [each for each in http.get("/api/tags").json()["models"] if each["name"] == "cria:latest"]
    assert model["model"] == "cria:latest"
    assert re.fullmatch("[0-9a-f]{64}", model["digest"])
    assert model["size"] > 1_000_000
    assert datetime.fromisoformat(model["modified_at"]).tzinfo is not None
    assert model["details"]["families"] == ["llama"]


@pytest.mark.parametrize("body", [{"model": "cria"}, {"name": "CRIA:latest"}, {"model": "", "name": "cria"}])
def test_show_takes_either_name_and_always_has_model_info(http: httpx.Client, body: dict[str, str]) -> None:
    reply = http.post("/api/show", json=body).json()
    assert reply["model_info"]["general.architecture"] == "llama"
    assert reply["model_info"]["llama.context_length"] == 2048
    assert reply["model_info"]["tokenizer.ggml.tokens"] == []
    assert "tokenizer.chat_template" not in reply["model_info"]
    assert reply["capabilities"] == ["completion"]
    assert "im_start" in reply["template"]
    assert {"name": "output_norm.weight", "type": "F32", "shape": [256]} in reply["tensors"]


def test_show_verbose_has_the_vocabulary(http: httpx.Client) -> None:
    reply = http.post("/api/show", json={"model": "cria", "verbose": True}).json()
    assert len(reply["model_info"]["tokenizer.ggml.tokens"]) > 1000


def test_show_puts_what_it_is_given_in_place_of_the_models_own(http: httpx.Client) -> None:
    given = {"system": "Be\nbrief.", "options": {"temperature": 1, "stop": ["a", "b"]}, "template": "x"}
    reply = http.post("/api/show", json={"model": "cria", **given}).json()
    assert reply["system"] == "Be\nbrief."
    for line in ('SYSTEM "Be\nbrief."', "PARAMETER temperature 1", "PARAMETER stop b"):
        assert line in reply["modelfile"]
    assert "parameters" not in reply
    assert any("template" in warning for warning in reply["warnings"])


def test_there_is_no_cloud(http: httpx.Client) -> None:
    assert http.get("/api/status").json() == {"cloud": {"disabled": True, "source": "none"}}


def test_a_chat_streams_by_default_and_ends_once_with_figures(http: httpx.Client) -> None:
    parts = lines(chat(http))
    *pieces, last = parts
    assert all(part["done"] is False and "eval_count" not in part for part in pieces)
    assert all(part["message"]["role"] == "assistant" and part["model"] == "cria" for part in parts)
    assert last["done"] is True
    assert last["done_reason"] == "stop"
    assert last["message"]["content"] == ""
    for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        assert isinstance(last[name], int)
        assert last[name] > 0
    assert last["prompt_eval_count"] == 9
    assert last["eval_count"] == len(pieces)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", part["created_at"]) for part in parts)


def test_the_stream_adds_up_to_the_plain_reply(http: httpx.Client) -> None:
    streamed = "".join(part["message"]["content"] for part in lines(chat(http)))
    whole = chat(http, stream=False)
    assert whole.headers["content-type"] == "application/json"
    assert whole.json()["message"]["content"] == streamed
    assert whole.json()["done"] is True


def test_text_outside_ascii_cannot_break_a_line_reader(http: httpx.Client) -> None:
    response = chat(http, messages=[{"role": "user", "content": "你会说中文吗"}])
    assert response.text.isascii()
    assert "中文" in "".join(part["message"]["content"] for part in lines(response))


def test_generate_gives_a_context_that_goes_on_with_the_exchange(http: httpx.Client) -> None:
    first = generate(http, stream=False).json()
    assert first["response"]
    assert first["puna_context"]["prompt_tokens"] == first["prompt_eval_count"]
    second = generate(http, stream=False, prompt="who are you?", context=first["context"]).json()
    assert second["context"][: len(first["context"])] == first["context"]
    assert second["prompt_eval_count"] > first["prompt_eval_count"] + first["eval_count"]


def test_raw_has_no_context_and_no_template(http: httpx.Client) -> None:
    reply = generate(http, raw=True, stream=False, options={"temperature": 0, "num_predict": 2}).json()
    assert "context" not in reply
    assert reply["prompt_eval_count"] < 9
    assert reply["done_reason"] == "length"


def test_system_is_part_of_the_prompt(http: httpx.Client) -> None:
    reply = generate(http, system="Be brief.", _debug_render_only=True).json()
    assert reply["_debug_info"]["rendered_template"].startswith("<|im_start|>system\nBe brief.<|im_end|>")


def test_a_template_in_the_request_writes_the_prompt(http: httpx.Client) -> None:
    template = "{{ with .System }}[{{ . }}]{{ end }}<{{ .Prompt }}>{{ .Response }}!"
    reply = generate(http, system="S.", template=template, _debug_render_only=True).json()
    assert reply["_debug_info"]["rendered_template"].startswith("[S.]<")
    assert reply["_debug_info"]["rendered_template"].endswith(">")


def test_empty_strings_and_nulls_mean_nothing(http: httpx.Client) -> None:
    options: dict[str, Any] = {"temperature": 0, "mirostat": None, "num_ctx": None, "stop": None}
    empty: dict[str, Any] = {
        "format": "",
        "suffix": "",
        "system": "",
        "template": "",
        "images": [],
        "keep_alive": None,
    }
    response = generate(http, **empty, options=options, think=None, context=None, stream=False)
    assert response.json()["response"] == generate(http, stream=False).json()["response"]
    assert "warnings" not in response.json()
    assert generate(http, options=None, stream=False).status_code == 200


def running(http: httpx.Client) -> dict[str, dict[str, Any]]:
    """The loaded models by name: tests of other files may have loaded more."""
    return {model["name"]: model for model in http.get("/api/ps").json()["models"]}


def test_no_messages_load_and_keep_alive_zero_unloads(http: httpx.Client) -> None:
    for path, empty in (("/api/chat", {"messages": []}), ("/api/generate", {"prompt": ""})):
        loaded = http.post(path, json={"model": "cria", **empty}).json()
        assert (loaded["done"], loaded["done_reason"]) == (True, "load")
        status = running(http)["cria:latest"]
        assert status["model"] == "cria:latest"
        assert datetime.fromisoformat(status["expires_at"]) > datetime.now().astimezone()
        assert status["context_length"] == 2048
        unloaded = http.post(path, json={"model": "cria", "keep_alive": 0, **empty}).json()
        assert unloaded["done_reason"] == "unload"
        assert "cria:latest" not in running(http)


def test_keep_alive_forever_is_a_date_far_away(http: httpx.Client) -> None:
    http.post("/api/generate", json={"model": "cria", "keep_alive": -1})
    status = running(http)["cria:latest"]
    assert datetime.fromisoformat(status["expires_at"]).year > 2200
    http.post("/api/generate", json={"model": "cria", "keep_alive": "5m"})


def test_a_conversation_too_long_is_fitted_and_says_so(http: httpx.Client) -> None:
    long = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi " * 20}] * 20 + HI
    response = chat(http, messages=long, options={"temperature": 0, "num_ctx": 256}, stream=False)
    context = response.json()["context"]
    assert context["limit"] == 256
    assert context["dropped_messages"] > 0
    assert context["dropped_tokens"] > 0
    assert context["prompt_tokens"] == response.json()["prompt_eval_count"]
    assert json.loads(response.headers["x-puna-context"]) == context
    refused = chat(http, messages=long, options={"num_ctx": 256}, truncate=False)
    assert refused.status_code == 400
    assert "context" in refused.json()["error"]


def test_what_is_ignored_is_told_in_body_and_header(http: httpx.Client) -> None:
    response = chat(http, tools=TOOLS, shift=True, bogus=1, options={"num_gpu": 1})
    warnings = lines(response)[-1]["warnings"]
    for word in ("tools", "shift", "bogus", "num_gpu"):
        assert any(word in warning for warning in warnings), word
    assert json.loads(response.headers["x-puna-warnings"]) == warnings


def test_unknown_fields_below_the_top_are_told_too(http: httpx.Client) -> None:
    response = chat(http, messages=[{**HI[0], "mood": "good"}], puna={"bogus": 1}, stream=False)
    assert response.json()["warnings"] == [
        "field 'puna.bogus' is unknown: it was ignored",
        "field 'messages.mood' is unknown: it was ignored",
    ]


def test_the_history_policy_can_be_asked_for(http: httpx.Client) -> None:
    talk = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}] * 3 + HI
    kept = chat(http, messages=talk, puna={"history": 2}, stream=False).json()["context"]
    assert (kept["policy"], kept["dropped_messages"]) == ("2", 4)
    strict = chat(http, messages=talk, puna={"history": "error"}, options={"num_ctx": 20})
    assert strict.status_code == 400
    assert chat(http, puna={"history": "some"}).status_code == 400


def test_copilot_finds_the_name_it_asked_for(http: httpx.Client) -> None:
    agent = {"User-Agent": "GitHubCopilotChat/1.0"}
    reply = http.post("/api/show", json={"model": "cria"}, headers=agent).json()
    assert reply["model_info"]["general.basename"] == "cria"


def test_strict_refuses_what_would_be_ignored(http: httpx.Client) -> None:
    response = chat(http, tools=TOOLS, puna={"strict": True})
    assert response.status_code == 400
    assert "tools" in response.json()["error"]


def test_stop_strings_never_leak_into_a_stream(http: httpx.Client) -> None:
    whole = chat(http, stream=False).json()["message"]["content"]
    parts = lines(chat(http, options={"temperature": 0, "stop": [whole[6:12]]}))
    assert "".join(part["message"]["content"] for part in parts) == whole[:6]
    assert parts[-1]["done_reason"] == "stop"


def test_a_seed_repeats_an_answer(http: httpx.Client) -> None:
    options = {"temperature": 5, "top_k": 0, "top_p": 1, "seed": 11, "num_predict": 20}
    first, second = (chat(http, options=options, stream=False).json()["message"] for _ in range(2))
    assert first == second


def test_an_assistant_message_without_content_is_accepted(http: httpx.Client) -> None:
    call = {"function": {"name": "f", "arguments": {"a": 1}}}
    messages = [*HI, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "4"}]
    assert chat(http, messages=messages, stream=False).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/api/chat", b"", 400, "missing request body"),
        ("/api/chat", b"{", 400, "not valid JSON"),
        ("/api/chat", b"[1]", 400, "must be a JSON object"),
        ("/api/chat", b"[" * 10_000, 400, "not valid JSON"),
        ("/api/chat", b'{"model": "cria", "options": {"top_p": NaN}}', 400, "NaN"),
        ("/api/chat", b"{}", 400, "model is required"),
        ("/api/chat", b'{"model": 3}', 400, "model:"),
        ("/api/chat", b'{"model": "cria", "messages": {}}', 400, "messages:"),
        ("/api/chat", b'{"model": "cria", "messages": [{"role": "x"}]}', 400, "invalid role"),
        ("/api/chat", b'{"model": "cria", "stream": "yes"}', 400, "stream:"),
        ("/api/chat", b'{"model": "cria", "options": {"num_ctx": "big"}}', 400, "must be of type integer"),
        ("/api/chat", b'{"model": "cria", "keep_alive": "300"}', 400, "invalid duration"),
        ("/api/chat", b'{"model": "cria", "format": "yaml"}', 400, "invalid format"),
        ("/api/chat", b'{"model": "cria", "messages": [{"role": "user"}], "think": true}', 400, "not support thinking"),
        ("/api/generate", b'{"model": "cria", "prompt": "x", "think": "low"}', 400, '"cria" does not support thinking'),
        ("/api/chat", b'{"model": "cria", "tools": [{"type": "function"}]}', 400, "tools: a function needs a name"),
        ("/api/chat", b'{"model": "cria", "tools": [{"function": {"name": ""}}]}', 400, "needs a name"),
        ("/api/chat", b'{"model": "cria", "tool_choice": "any"}', 400, "tool_choice"),
        ("/api/chat", b'{"model": "cria", "think": "deep"}', 400, "invalid think value"),
        ("/api/chat", b'{"model": "cria", "top_logprobs": 21}', 400, "between 0 and 20"),
        ("/api/generate", b'{"model": "cria", "images": ["AA=="]}', 400, "does not support images"),
        ("/api/generate", b'{"model": "cria", "prompt": "a", "suffix": "x"}', 400, '"cria" does not support insert'),
        ("/api/generate", b'{"model": "cria", "raw": true, "system": "x"}', 400, "raw mode does not support"),
        ("/api/generate", b'{"model": "cria", "prompt": "x", "template": "{{ if }}"}', 400, "Go template, line 1"),
        ("/api/generate", b'{"model": "cria", "raw": true, "template": "x"}', 400, "raw mode does not support"),
        ("/api/generate", b'{"model": "nope", "prompt": "x"}', 404, "model 'nope' not found"),
        ("/api/generate", b'{"model": "nope"}', 404, "model 'nope' not found"),
        ("/api/generate", b'{"model": "a b", "prompt": "x"}', 400, "invalid model name"),
        ("/api/show", b'{"model": "nope"}', 404, "model 'nope' not found"),
        ("/api/show", b"{}", 400, "model is required"),
    ],
)
def test_errors_have_ollamas_shape_and_status(
    http: httpx.Client, path: str, body: bytes, status: int, message: str
) -> None:
    response = http.post(path, content=body)
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert message in response.json()["error"]


def test_an_unknown_route_and_a_wrong_method_answer_as_ollamas_router(http: httpx.Client) -> None:
    missing, wrong = http.get("/api/nope"), http.get("/api/chat")
    assert (missing.status_code, missing.text) == (404, "404 page not found")
    assert (wrong.status_code, wrong.text) == (405, "405 method not allowed")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json"])
def test_the_body_is_json_whatever_its_type_says(http: httpx.Client, kind: str) -> None:
    body = json.dumps({"model": "cria", "messages": HI, "stream": False})
    assert http.post("/api/chat", content=body, headers={"Content-Type": kind}).status_code == 200
