"""LangChain's ChatOllama, OllamaLLM and OllamaEmbeddings, with its own standard suites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from pydantic import BaseModel, Field

from tests.clients.standard_suite import UNFORCED, expect_what_cria_cannot

# One test of the suite is about pydantic's old models, of which LangChain then warns.
pytestmark = pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema")

Connection = dict[str, Any]


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    """Where the server is. LangChain never closes the connections it makes by itself."""
    with httpx.HTTPTransport() as transport:
        async with httpx.AsyncHTTPTransport() as async_transport:
            yield {
                "base_url": url,
                "sync_client_kwargs": {"transport": transport},
                "async_client_kwargs": {"transport": async_transport},
            }


class TestChatOllama(ChatModelIntegrationTests):
    """ChatOllama over /api/chat.

    What it skips by itself: images, audio, PDF (cria answers to text only), tool_choice (ChatOllama does not send it),
    Anthropic's message parts (ChatOllama itself refuses them) and recorded traffic (there is a server).
    """

    @pytest.fixture(autouse=True)
    def _connect(self, connection: Connection, tool_model: str, request: pytest.FixtureRequest) -> None:
        self.connection = connection
        self.tool_model = tool_model
        expect_what_cria_cannot(request, UNFORCED)

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOllama

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": self.tool_model,
            **self.connection,
            "temperature": 0,
            "num_predict": 100,
            "repeat_penalty": 1.3,
        }

    @property
    def has_tool_choice(self) -> bool:
        return False  # ChatOllama takes tool_choice and sends nothing of it

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return "cria:latest"


class TestOllamaEmbeddings(EmbeddingsIntegrationTests):
    """OllamaEmbeddings over /api/embed."""

    @pytest.fixture(autouse=True)
    def _connect(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return OllamaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "cria", **self.connection}


class Pet(BaseModel):
    """A pet."""

    name: str = Field(max_length=8)
    legs: int = Field(ge=0, le=9)


async def test_invoke_stream_and_batch_agree(connection: Connection) -> None:
    model = ChatOllama(model="cria", **connection, temperature=0, validate_model_on_init=True)
    whole = model.invoke("你会说中文吗")
    assert "中文" in whole.text
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["output_tokens"] > 0
    assert whole.response_metadata["done_reason"] == "stop"
    streamed = AIMessageChunk(content="")
    for chunk in model.stream("你会说中文吗"):
        assert isinstance(chunk, AIMessageChunk)
        streamed += chunk
    assert streamed.text == whole.text
    assert streamed.usage_metadata == whole.usage_metadata
    assert [answer.text for answer in model.batch(["你会说中文吗"] * 2)] == [whole.text] * 2
    assert (await model.ainvoke("你会说中文吗")).text == whole.text
    assert "".join([chunk.text async for chunk in model.astream("你会说中文吗")]) == whole.text


def test_a_format_gives_the_object_whatever_the_model(connection: Connection) -> None:
    """What the suite asks of a model's wits, the grammar does here."""
    model = ChatOllama(model="cria", **connection, temperature=0, num_predict=200)
    assert isinstance(model.with_structured_output(Pet, method="json_schema").invoke("hi"), Pet)


@pytest.mark.parametrize("method", ["function_calling", "json_mode"])
def test_other_ways_to_structure_reach_the_model(connection: Connection, tool_model: str, method: Any) -> None:
    """Whether anything comes of them is up to the model: it may call a tool, or write other fields."""
    model = ChatOllama(model=tool_model, **connection, temperature=0, num_predict=60, repeat_penalty=1.3)
    reply = model.with_structured_output(Pet, method=method, include_raw=True).invoke("hi")
    assert isinstance(reply, dict)
    assert isinstance(reply["raw"], AIMessage)


def test_tools_and_their_results_go_through(connection: Connection, tool_model: str) -> None:
    model = ChatOllama(model=tool_model, **connection, temperature=0, num_predict=60).bind_tools([Pet])
    call = {"name": "Pet", "args": {"name": "x", "legs": 4}, "id": "1", "type": "tool_call"}
    history = [HumanMessage("hi"), AIMessage("", tool_calls=[call]), ToolMessage("done", tool_call_id="1")]
    assert model.invoke(history).response_metadata["done"] is True


def test_completions_invoke_stream_and_generate(connection: Connection) -> None:
    model = OllamaLLM(model="cria", **connection, temperature=0)
    whole = model.invoke("hi")
    assert whole
    assert "".join(model.stream("hi")) == whole
    assert model.batch(["hi", "hi"]) == [whole, whole]


async def test_completions_asynchronously(connection: Connection) -> None:
    model = OllamaLLM(model="cria", **connection, temperature=0)
    whole = await model.ainvoke("hi")
    assert "".join([piece async for piece in model.astream("hi")]) == whole


def test_embeddings_have_the_dimensions_asked_for(connection: Connection) -> None:
    model = OllamaEmbeddings(model="cria", **connection, dimensions=16)
    assert [len(vector) for vector in model.embed_documents(["a", "b"])] == [16, 16]
