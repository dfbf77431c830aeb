"""Log-probabilities of tokens, as the official clients get them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import httpx
import ollama
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

MESSAGES = [{"role": "user", "content": "你会说中文吗"}]
OPENAI_MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "你会说中文吗"}]
GREEDY = {"temperature": 0}


@pytest.fixture
def client(url: str) -> Iterator[ollama.Client]:
    with ollama.Client(url) as client:
        yield client


@pytest.fixture
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def test_ollama_chat_plain_and_streamed(client: ollama.Client) -> None:
    whole = client.chat("cria", MESSAGES, options=GREEDY, logprobs=True, top_logprobs=3)
    assert whole.logprobs is not None
    assert whole.eval_count == len(whole.logprobs)
    for token in whole.logprobs:
        assert token.top_logprobs is not None
        assert len(token.top_logprobs) == 3
        assert token.logprob == token.top_logprobs[0].logprob <= 0  # greedy: the likeliest
        assert sum(math.exp(each.logprob) for each in token.top_logprobs) <= 1 + 1e-6
    parts = list(client.chat("cria", MESSAGES, options=GREEDY, logprobs=True, top_logprobs=3, stream=True))
    assert [token for part in parts for token in part.logprobs or ()] == whole.logprobs


def test_ollama_generate_without_alternatives(client: ollama.Client) -> None:
    whole = client.generate("cria", "hi", options=GREEDY, logprobs=True)
    assert whole.logprobs
    assert not whole.logprobs[0].top_logprobs
    assert client.generate("cria", "hi", options=GREEDY).logprobs is None


def test_the_bytes_of_the_tokens_are_the_text_even_where_a_character_is_several_tokens(http: httpx.Client) -> None:
    body = {"model": "cria", "messages": MESSAGES, "options": GREEDY, "logprobs": True, "stream": False}
    reply = http.post("/api/chat", json=body).json()
    pieces = [bytes(token["bytes"]) for token in reply["logprobs"]]
    assert b"".join(pieces).decode() == reply["message"]["content"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_takes_its_tokens_log_probabilities_with_it(http: httpx.Client, stream: bool) -> None:
    body = {"model": "cria", "messages": MESSAGES, "options": GREEDY, "stream": False}
    text = http.post("/api/chat", json=body).json()["message"]["content"]
    body |= {"options": {**GREEDY, "stop": [text[-4:-2]]}, "logprobs": True, "stream": stream}
    replies = [httpx.Response(200, text=line).json() for line in http.post("/api/chat", json=body).text.splitlines()]
    tokens = [token for reply in replies for token in reply.get("logprobs", ())]
    shown = "".join(reply["message"]["content"] for reply in replies)
    assert shown == text[: text.index(text[-4:-2])]
    assert b"".join(bytes(token["bytes"]) for token in tokens[:-1]).decode(errors="ignore") in shown


def test_openai_plain_and_streamed(openai_client: openai.OpenAI) -> None:
    create = openai_client.chat.completions.create
    whole = create(model="cria", messages=OPENAI_MESSAGES, temperature=0, logprobs=True, top_logprobs=2).choices[0]
    assert whole.logprobs is not None
    content = whole.logprobs.content
    assert content
    assert b"".join(bytes(token.bytes or ()) for token in content).decode() == whole.message.content
    assert all(len(token.top_logprobs) == 2 for token in content)
    assert all(token.token == token.top_logprobs[0].token for token in content)
    chunks = create(model="cria", messages=OPENAI_MESSAGES, temperature=0, logprobs=True, top_logprobs=2, stream=True)
    logprobs = [chunk.choices[0].logprobs for chunk in chunks]
    assert [token for each in logprobs if each for token in each.content or ()] == content
    plain = create(model="cria", messages=OPENAI_MESSAGES, temperature=0, logprobs=True).choices[0].logprobs
    assert plain is not None
    assert [token.logprob for token in plain.content or ()] == [token.logprob for token in content]
    assert all(token.top_logprobs == [] for token in plain.content or ())
    assert create(model="cria", messages=OPENAI_MESSAGES, temperature=0).choices[0].logprobs is None


def test_alternatives_without_log_probabilities_are_refused_or_told(http: httpx.Client) -> None:
    body = {"model": "cria", "messages": MESSAGES, "top_logprobs": 2, "stream": False}
    refused = http.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    assert "logprobs" in refused.json()["error"]["message"]
    assert "top_logprobs" in http.post("/api/chat", json=body).json()["warnings"][0]
