"""Images through every API: cria behind a tiny CLIP, a real server; what is seen changes the answer's probabilities."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from puna.gguf import ModelConfig, open_model
from tests.models import tiny_llava
from tests.models.projectors import write_projector
from tests.server.process import server_process
from tests.store.ollama_store import CRIA, add_model

QUESTION = "what is this?"
OPTIONS = {"temperature": 0, "num_predict": 4}


def png(name: str) -> str:
    """A picture's file in base64."""
    file = io.BytesIO()
    Image.fromarray(tiny_llava.picture(name)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


WIDE, TALL = png("wide"), png("tall")


@contextmanager
def seeing_server(folder: Path) -> Iterator[str]:
    """A server's address, with cria, blind, and `seeing`, the same with a projector."""
    with open_model(CRIA) as file:
        width = ModelConfig.from_model(file).embedding_length
    projector = write_projector(folder / "mmproj.gguf", out=width).read_bytes()
    name = "registry.ollama.ai/library/seeing/latest"
    add_model(folder / "models", name, layers=[("projector", projector)])
    with server_process(folder / "models") as url:
        yield url


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        seeing_server(tmp_path_factory.mktemp("seeing")) as url,
        httpx.Client(base_url=url, timeout=120) as client,
    ):
        yield client


def chat(http: httpx.Client, *images: str, model: str = "seeing", **fields: Any) -> dict[str, Any]:
    message = {"role": "user", "content": QUESTION, "images": list(images)}
    body = {"model": model, "messages": [message], "stream": False, "options": OPTIONS, "logprobs": True, **fields}
    reply = http.post("/api/chat", json=body)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def seen(reply: dict[str, Any]) -> list[float]:
    """How likely the answer's tokens were: other images, other numbers."""
    return [token["logprob"] for token in reply["logprobs"]]


def test_an_image_takes_places_in_the_prompt_and_another_one_is_seen_as_another(http: httpx.Client) -> None:
    blind, wide, tall = chat(http), chat(http, WIDE), chat(http, TALL)
    assert wide["prompt_eval_count"] - blind["prompt_eval_count"] >= tiny_llava.ROWS
    assert len({tuple(seen(reply)) for reply in (blind, wide, tall)}) == 3
    assert seen(chat(http, WIDE)) == seen(wide)  # from the cache too


def test_two_images_are_seen_in_their_order(http: httpx.Client) -> None:
    assert seen(chat(http, WIDE, TALL)) != seen(chat(http, TALL, WIDE))


def test_generate_sees_what_chat_sees(http: httpx.Client) -> None:
    body = {"model": "seeing", "prompt": QUESTION, "images": [WIDE], "stream": False, "options": OPTIONS}
    reply = http.post("/api/generate", json={**body, "logprobs": True}).json()
    assert seen(reply) == seen(chat(http, WIDE))


def test_openais_client_shows_images_as_data_urls(http: httpx.Client) -> None:
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{WIDE}"}}
    content: Any = [part, {"type": "text", "text": QUESTION}]
    with openai.OpenAI(base_url=f"{http.base_url}/v1/", api_key="none") as client:
        reply = client.chat.completions.create(
            model="seeing", messages=[{"role": "user", "content": content}], temperature=0, max_tokens=4, logprobs=True
        )
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert [token.logprob for token in logprobs.content or ()] == seen(chat(http, WIDE))


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/responses", {"type": "input_image", "image_url": f"data:image/png;base64,{WIDE}"}),
        ("/v1/messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": WIDE}}),
    ],
)
def test_responses_and_messages_take_images(http: httpx.Client, path: str, content: dict[str, Any]) -> None:
    words = {"type": "input_text" if path.endswith("responses") else "text", "text": QUESTION}
    field, limit = ("input", "max_output_tokens") if path.endswith("responses") else ("messages", "max_tokens")
    body = {"model": "seeing", field: [{"role": "user", "content": [content, words]}], limit: 4, "temperature": 0}
    reply = http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    usage = reply.json()["usage"]
    assert usage["input_tokens"] + usage.get("cache_read_input_tokens", 0) == chat(http, WIDE)["prompt_eval_count"]


def test_show_and_tags_say_which_model_sees(http: httpx.Client) -> None:
    able = {name: http.post("/api/show", json={"model": name}).json()["capabilities"] for name in ("seeing", "cria")}
    assert "vision" in able["seeing"]
    assert "vision" not in able["cria"]


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": ["?"]}]}, "image 0 is not valid base64"),
        ("/api/chat", {"messages": [{"role": "user", "content": "x", "images": ["AAAA"]}]}, "cannot be read"),
        (
            "/v1/chat/completions",
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a/b.png"}}]}
                ]
            },
            "not fetched from other machines",
        ),
        (
            "/v1/messages",
            {
                "max_tokens": 1,
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://a"}}]}
                ],
            },
            "nothing is fetched",
        ),
    ],
)
def test_what_is_no_image_is_refused_in_words(http: httpx.Client, path: str, body: dict[str, Any], told: str) -> None:
    reply = http.post(path, json={"model": "seeing", **body})
    assert reply.status_code == 400
    assert told in reply.text


def test_a_model_that_is_blind_says_so(http: httpx.Client) -> None:
    message = {"role": "user", "content": "x", "images": [WIDE]}
    reply = http.post("/api/chat", json={"model": "cria", "messages": [message]})
    assert reply.status_code == 400
    assert "does not support images" in reply.json()["error"]
