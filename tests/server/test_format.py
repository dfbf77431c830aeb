"""Answers held to JSON, as the official clients ask for it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import ollama
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, ConfigDict, Field

MESSAGES = [{"role": "user", "content": "who are you?"}]
OPENAI_MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "who are you?"}]
HOT = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "num_predict": 400}


class Pet(BaseModel):
    """What the answers are held to."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=8)
    legs: int = Field(ge=0, le=9)


@pytest.mark.parametrize("seed", range(3))
def test_ollama_with_a_schema_plain_and_streamed(url: str, seed: int) -> None:
    with ollama.Client(url) as client:
        options = {**HOT, "seed": seed}
        whole = client.chat("cria", MESSAGES, format=Pet.model_json_schema(), options=options)
        Pet.model_validate_json(whole.message.content or "")
        assert whole.done_reason == "stop"
        parts = client.generate("cria", "a pet", format=Pet.model_json_schema(), options=options, stream=True)
        Pet.model_validate_json("".join(part.response for part in parts))


def test_ollama_with_any_json(http: httpx.Client) -> None:
    options = {"temperature": 0, "num_predict": 200}
    body = {"model": "cria", "messages": MESSAGES, "format": "json", "stream": False, "options": options}
    reply = http.post("/api/chat", json=body).json()
    assert reply["message"]["content"].startswith("{")
    assert "warnings" not in reply
    if reply["done_reason"] == "stop":
        assert isinstance(json.loads(reply["message"]["content"]), dict)


@pytest.mark.parametrize("seed", range(2))
def test_openai_parses_its_own_models(url: str, seed: int) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
        parsed = client.chat.completions.parse(
            model="cria", messages=OPENAI_MESSAGES, response_format=Pet, seed=seed, temperature=1.5, max_tokens=400
        )
        assert isinstance(parsed.choices[0].message.parsed, Pet)
        text = client.chat.completions.create(
            model="cria", messages=OPENAI_MESSAGES, response_format={"type": "text"}, max_tokens=3
        )
        assert text.choices[0].message.content


@pytest.mark.parametrize(
    ("path", "fields", "because"),
    [
        ("/api/chat", {"format": {"type": "objekt"}}, "objekt"),
        ("/api/chat", {"format": "yaml"}, "invalid format"),
        ("/api/chat", {"format": {"type": "objekt"}, "stream": False}, "objekt"),
        ("/v1/chat/completions", {"response_format": {"type": "yaml"}}, "yaml"),
        ("/v1/chat/completions", {"response_format": {"type": "json_schema"}}, "json_schema.schema"),
        (
            "/v1/chat/completions",
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "objekt"}}}},
            "objekt",
        ),
    ],
)
def test_what_is_no_schema_is_a_400_that_says_why(
    http: httpx.Client, path: str, fields: dict[str, Any], because: str
) -> None:
    reply = http.post(path, json={"model": "cria", "messages": MESSAGES, **fields})
    assert reply.status_code == 400
    assert because in reply.text


def test_log_probabilities_speculation_and_a_schema_together(http: httpx.Client) -> None:
    body = {
        "model": "cria",
        "messages": MESSAGES,
        "format": Pet.model_json_schema(),
        "logprobs": True,
        "stream": False,
    }
    texts = []
    for draft in (0, 15):
        options = {**HOT, "seed": 5, "draft_num_predict": draft}
        reply = http.post("/api/chat", json={**body, "options": options}).json()
        texts.append(reply["message"]["content"])
        assert b"".join(bytes(token["bytes"]) for token in reply["logprobs"]).decode() == texts[-1]
    assert texts[0] == texts[1]
