"""/v1/completions: texts continued as they stand."""

import json
from typing import Any

import httpx
import pytest


def complete(http: httpx.Client, **fields: Any) -> httpx.Response:
    return http.post("/v1/completions", json={"model": "cria", "temperature": 0, "max_tokens": 6, **fields})


def texts(reply: httpx.Response) -> list[str]:
    reply.raise_for_status()
    return [choice["text"] for choice in reply.json()["choices"]]


def tokens_of(http: httpx.Client, text: str) -> list[int]:
    body = {"model": "cria", "prompt": text, "max_tokens": 0, "logprobs": 0}
    assert http.post("/v1/completions", json=body).json()["usage"]["completion_tokens"] == 0
    reply = http.post("/api/generate", json={"model": "cria", "prompt": text, "stream": False}).json()
    return list(reply["context"])


def test_the_prompt_is_not_put_into_a_chat_template(http: httpx.Client) -> None:
    raw = {"model": "cria", "prompt": "How are", "raw": True, "stream": False}
    options = {"temperature": 0, "top_p": 1, "top_k": 0, "repeat_penalty": 1, "num_predict": 6}
    assert texts(complete(http, prompt="How are")) == [
        http.post("/api/generate", json={**raw, "options": options}).json()["response"]
    ]


def test_text_and_its_token_ids_give_the_same_alone_and_in_a_list(http: httpx.Client) -> None:
    context = tokens_of(http, "hi")
    [alone] = texts(complete(http, prompt=context))
    assert texts(complete(http, prompt=[context, context[:4]]))[0] == alone
    listed = texts(complete(http, prompt=["How are", "who"]))
    assert listed == [*texts(complete(http, prompt="How are")), *texts(complete(http, prompt="who"))]


def test_a_stream_is_the_same_text_with_its_end_alone_and_usage_last(http: httpx.Client) -> None:
    fields: dict[str, Any] = {"prompt": ["How are", "who"], "n": 2, "temperature": 1.5, "seed": 3, "echo": True}
    whole = complete(http, **fields).json()
    response = complete(http, **fields, stream=True, stream_options={"include_usage": True})
    assert response.text.endswith("data: [DONE]\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in response.text.split("\n\n")[:-2]]
    streamed = ["", "", "", ""]
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        streamed[choice["index"]] += choice["text"]
        assert choice["text"] == "" or choice["finish_reason"] is None
    assert streamed == [choice["text"] for choice in whole["choices"]]
    assert all(text.startswith(prompt) for text, prompt in zip(streamed, ["How are"] * 2 + ["who"] * 2, strict=True))
    assert chunks[-1]["usage"] == whole["usage"]
    assert chunks[-1]["choices"] == []


def test_log_probabilities_have_the_old_shape_and_their_offsets(http: httpx.Client) -> None:
    choice = complete(http, prompt="How are", logprobs=2).json()["choices"][0]
    logprobs = choice["logprobs"]
    assert "".join(logprobs["tokens"]) == choice["text"]
    for token, logprob, top, offset in zip(
        logprobs["tokens"],
        logprobs["token_logprobs"],
        logprobs["top_logprobs"],
        logprobs["text_offset"],
        strict=True,
    ):
        assert choice["text"][offset:].startswith(token)
        assert top[token] == logprob == max(top.values())
        assert len(top) == 2


def test_the_best_of_several_is_the_likeliest(http: httpx.Client) -> None:
    fields: dict[str, Any] = {"prompt": "How are", "temperature": 1.5, "seed": 1}
    every = complete(http, **fields, n=4, logprobs=0).json()
    best = complete(http, **fields, n=1, best_of=4).json()

    def mean(choice: dict[str, Any]) -> float:
        found = choice["logprobs"]["token_logprobs"]
        return float(sum(found) / max(1, len(found)))

    assert best["choices"][0]["text"] == max(every["choices"], key=mean)["text"]
    assert best["choices"][0]["logprobs"] is None
    assert best["usage"]["completion_tokens"] == every["usage"]["completion_tokens"]
    assert best["usage"]["prompt_tokens"] == every["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": []}, "answers"),
        ({"prompt": ["hi", [1]]}, "prompt: must be a text"),
        ({"prompt": [10**6]}, "token id"),
        ({"prompt": [-1]}, "token id"),
        ({"prompt": "x", "n": 3, "best_of": 2}, "best_of"),
        ({"prompt": "x", "best_of": 2, "stream": True}, "streamed"),
        ({"prompt": "x", "logprobs": 21}, "logprobs"),
        ({"prompt": "x", "logprobs": 0, "echo": True}, "echo"),
        ({"prompt": "x", "n": 10**9}, "answers"),
        ({"prompt": "x", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "w " * 5000}, "maximum context length"),
        ({"prompt": "x", "suffix": "y"}, "does not support insert"),
        ({"prompt": "x", "model": ""}, "model is required"),
    ],
)
def test_what_cannot_be_done_is_refused_in_openais_shape(
    http: httpx.Client, fields: dict[str, Any], message: str
) -> None:
    response = complete(http, **fields)
    assert response.status_code == 400, response.text
    assert message in response.json()["error"]["message"]
