"""The official package `ollama`, every method of it, as its users call it.

Not called: `web_search` and `web_fetch`, which go to the package's own cloud whatever the host.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ollama
import pytest

from tests import minilm
from tests.store.ollama_store import CRIA

MESSAGES = [{"role": "user", "content": "你会说中文吗"}]
GREEDY = {"temperature": 0}
PET = {
    "type": "object",
    "properties": {"legs": {"type": "integer", "minimum": 2, "maximum": 4}},
    "required": ["legs"],
    "additionalProperties": False,
}


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first
        b: the second
    """
    return a + b


@pytest.fixture
def client(url: str) -> Iterator[ollama.Client]:
    with ollama.Client(url) as client:
        yield client


@pytest.fixture
async def async_client(url: str) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(url) as client:
        yield client


def test_chat_plain_and_streamed(client: ollama.Client) -> None:
    whole = client.chat("cria", MESSAGES, options=GREEDY)
    assert "中文" in (whole.message.content or "")
    assert whole.eval_count
    assert whole.done_reason == "stop"
    parts = list(client.chat("cria", MESSAGES, options=GREEDY, stream=True))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content


def test_chat_with_log_probabilities_and_a_format(client: ollama.Client) -> None:
    reply = client.chat("cria", MESSAGES, options=GREEDY, logprobs=True, top_logprobs=2)
    assert reply.logprobs
    assert len(reply.logprobs[0].top_logprobs or ()) == 2
    held = client.chat("cria", MESSAGES, options=GREEDY, format=PET).message.content
    assert held is not None
    assert '"legs"' in held


def test_chat_takes_functions_as_tools_and_their_results(client: ollama.Client, tool_model: str) -> None:
    first = client.chat(tool_model, MESSAGES, tools=[add], options=GREEDY)
    call = ollama.Message.ToolCall(function=ollama.Message.ToolCall.Function(name="add", arguments={"a": 1, "b": 2}))
    history: list[Mapping[str, Any] | ollama.Message] = [
        *MESSAGES,
        ollama.Message(role="assistant", tool_calls=[call]),
        ollama.Message(role="tool", content="3", tool_name="add"),
    ]
    second = client.chat(tool_model, history, tools=[add], options={**GREEDY, "num_predict": 30})
    assert first.done
    assert second.done


def test_thinking_of_a_model_that_does_not_think_is_refused(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        client.chat("cria", MESSAGES, think=True)


def test_generate_and_its_context(client: ollama.Client) -> None:
    first = client.generate("cria", "hi", options=GREEDY)
    assert first.response
    second = client.generate("cria", "who are you?", context=first.context, options=GREEDY)
    assert second.response
    streamed = client.generate("cria", "hi", options=GREEDY, stream=True)
    assert "".join(part.response or "" for part in streamed) == first.response


def test_list_show_ps(client: ollama.Client) -> None:
    assert {model.model for model in client.list().models} == {"cria:latest", *minilm.NAMES}
    shown = client.show("cria")
    assert "completion" in (shown.capabilities or ())
    assert shown.modelinfo is not None
    client.generate("cria")
    assert "cria:latest" in [model.model for model in client.ps().models]


def test_embed_and_embeddings(client: ollama.Client) -> None:
    many = client.embed("cria", ["hi", "hello"], options=ollama.Options(temperature=0), dimensions=32)
    assert [len(vector) for vector in many.embeddings] == [32, 32]
    one = client.embeddings("cria", "hi")
    assert len(one.embedding) == 256


def test_errors_are_its_own(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as error:
        client.chat("nope", MESSAGES)
    assert error.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="not found"):
        list(client.chat("nope", MESSAGES, stream=True))


def test_models_are_pulled_uploaded_created_copied_and_deleted(client: ollama.Client, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(CRIA.read_bytes())
    assert client.pull("cria").status == "success"
    assert [part.status for part in client.pull("cria", stream=True)][-1] == "success"
    digest = client.create_blob(file)
    assert client.create("mine", files={"model.gguf": digest}, system="Be brief.").status == "success"
    assert client.copy("mine", "copied").status == "success"
    assert {"mine:latest", "copied:latest"} <= {model.model for model in client.list().models}
    for name in ("mine", "copied"):
        assert client.delete(name).status == "success"
    calls: list[Callable[[], object]] = [
        lambda: client.delete("mine"),
        lambda: client.copy("mine", "x"),
        lambda: client.show("mine"),
    ]
    for call in calls:
        with pytest.raises(ollama.ResponseError, match="not found") as error:
            call()
        assert error.value.status_code == 404


def test_a_route_that_there_is_not_is_404(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as error:
        client.systemone("cria", [], {})
    assert error.value.status_code == 404


async def test_asynchronous_chat_generate_and_embeddings(async_client: ollama.AsyncClient) -> None:
    text = ""
    async for part in await async_client.chat("cria", MESSAGES, options=GREEDY, stream=True):
        text += part.message.content or ""
    assert "中文" in text
    assert (await async_client.chat("cria", MESSAGES, options=GREEDY)).message.content == text
    whole = await async_client.generate("cria", "hi", options=GREEDY)
    streamed = [
        part.response or "" async for part in await async_client.generate("cria", "hi", options=GREEDY, stream=True)
    ]
    assert "".join(streamed) == whole.response
    assert len((await async_client.embed("cria", "hi")).embeddings) == 1
    assert len((await async_client.embeddings("cria", "hi")).embedding) == 256


async def test_asynchronous_models(async_client: ollama.AsyncClient, tmp_path: Path) -> None:
    assert "cria:latest" in [each.model for each in (await async_client.list()).models]
    assert (await async_client.show("cria")).modelinfo
    assert (await async_client.ps()).models
    assert (await async_client.pull("cria")).status == "success"
    file = tmp_path / "model.gguf"
    file.write_bytes(CRIA.read_bytes())
    digest = await async_client.create_blob(file)
    assert (await async_client.create("mine", files={"model.gguf": digest})).status == "success"
    assert (await async_client.copy("mine", "copied")).status == "success"
    for name in ("mine", "copied"):
        assert (await async_client.delete(name)).status == "success"
    with pytest.raises(ollama.ResponseError, match="not found"):
        await async_client.delete("mine")
