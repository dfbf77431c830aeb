"""The official packages, as their users call them."""

import asyncio
from collections.abc import Iterator

import ollama
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

MESSAGES = [{"role": "user", "content": "你会说中文吗"}]
OPENAI_MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "你会说中文吗"}]


@pytest.fixture
def client(url: str) -> Iterator[ollama.Client]:
    with ollama.Client(url) as client:
        yield client


def test_ollama_chat_plain_and_streamed(client: ollama.Client) -> None:
    whole = client.chat("cria", MESSAGES, options={"temperature": 0})
    assert "中文" in (whole.message.content or "")
    assert whole.eval_count
    assert whole.done_reason == "stop"
    parts = list(client.chat("cria", MESSAGES, options={"temperature": 0}, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content


def test_ollama_generate_and_its_context(client: ollama.Client) -> None:
    first = client.generate("cria", "hi", options={"temperature": 0})
    assert first.response
    second = client.generate("cria", "who are you?", context=first.context, options={"temperature": 0})
    assert second.response


def test_ollama_list_show_ps(client: ollama.Client) -> None:
    assert [model.model for model in client.list().models] == ["cria:latest"]
    shown = client.show("cria")
    assert shown.capabilities == ["completion"]
    assert shown.modelinfo is not None
    client.generate("cria")
    assert [model.model for model in client.ps().models] == ["cria:latest"]


def test_ollama_errors_are_its_own(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as error:
        client.chat("nope", MESSAGES)
    assert error.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="not found"):
        list(client.chat("nope", MESSAGES, stream=True))


def test_ollama_asynchronously(url: str) -> None:
    async def run() -> str:
        text = ""
        async with ollama.AsyncClient(url) as client:
            async for part in await client.chat("cria", MESSAGES, options={"temperature": 0}, stream=True):
                text += part.message.content or ""
        return text

    assert "中文" in asyncio.run(run())


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def test_openai_chat_plain_and_streamed(url: str) -> None:
    with client_of(url) as client:
        whole = client.chat.completions.create(model="cria", messages=OPENAI_MESSAGES, temperature=0)
        assert "中文" in (whole.choices[0].message.content or "")
        stream = client.chat.completions.create(
            model="cria",
            messages=OPENAI_MESSAGES,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-1].usage == whole.usage


def test_openai_models_and_errors(url: str) -> None:
    with client_of(url) as client:
        assert [model.id for model in client.models.list()] == ["cria:latest"]
        assert client.models.retrieve("cria").id == "cria:latest"
        with pytest.raises(openai.NotFoundError) as missing:
            client.models.retrieve("a/b")
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as too_long:
            client.chat.completions.create(model="cria", messages=[{"role": "user", "content": "w " * 5000}])
        assert too_long.value.code == "context_length_exceeded"


def test_openai_asynchronously_eight_at_once(url: str) -> None:
    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as client:
            requests = [
                client.chat.completions.create(model="cria", messages=OPENAI_MESSAGES, temperature=0) for _ in range(8)
            ]
            return [reply.choices[0].message.content or "" for reply in await asyncio.gather(*requests)]

    answers = asyncio.run(run())
    assert len(set(answers)) == 1
    assert "中文" in answers[0]
