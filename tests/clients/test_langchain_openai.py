"""LangChain's ChatOpenAI and OpenAIEmbeddings, with its own standard suites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests
from pydantic import BaseModel, Field

from tests.clients.standard_suite import expect_what_cria_cannot

# One test of the suite is about pydantic's old models, of which LangChain then warns.
pytestmark = pytest.mark.filterwarnings("ignore:Received a Pydantic BaseModel V1 schema")

UsageDetails = dict[
    Literal["invoke", "stream"],
    list[Literal["audio_input", "audio_output", "reasoning_output", "cache_read_input", "cache_creation_input"]],
]


Connection = dict[str, Any]


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    """Where the server is. LangChain never closes the connections it makes by itself."""
    with httpx.Client(timeout=60) as client:
        async with httpx.AsyncClient(timeout=60) as async_client:
            yield {
                "base_url": f"{url}/v1",
                "api_key": "unused",
                "http_client": client,
                "http_async_client": async_client,
            }


class TestChatCompletions(ChatModelIntegrationTests):
    """ChatOpenAI over /v1/chat/completions.

    What it skips by itself: images, audio, PDF (cria answers to text only) and recorded traffic (there is a server).
    """

    @pytest.fixture(autouse=True)
    def _connect(self, connection: Connection, tool_model: str, request: pytest.FixtureRequest) -> None:
        self.connection = connection
        self.tool_model = tool_model
        expect_what_cria_cannot(request)

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": self.tool_model,
            **self.connection,
            "temperature": 0,
            "max_tokens": 100,
            "max_retries": 0,
            "stream_usage": True,
            "extra_body": {"repeat_penalty": 1.3, "parallel_tool_calls": False},
        }

    @property
    def model_override_value(self) -> str:
        return "cria:latest"

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

    @property
    def supported_usage_metadata_details(self) -> UsageDetails:
        return {"invoke": ["cache_read_input"], "stream": ["cache_read_input"]}

    def invoke_with_cache_read_input(self, *, stream: bool = False) -> Any:
        """A long prompt for the second time."""
        model = ChatOpenAI(**self.chat_model_params)
        prompt = "word " * 100
        model.invoke(prompt)
        if not stream:
            return model.invoke(prompt)
        whole = None
        for chunk in model.stream(prompt):
            whole = chunk if whole is None else whole + chunk
        return whole


class TestResponses(TestChatCompletions):
    """ChatOpenAI over /v1/responses."""

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {**super().chat_model_params, "use_responses_api": True}


class Pet(BaseModel):
    """A pet."""

    name: str = Field(max_length=8)
    legs: int = Field(ge=0, le=9)


@pytest.mark.parametrize("responses", [False, True])
async def test_what_is_bounded_is_called_and_filled_whatever_the_model(
    connection: Connection, tool_model: str, responses: bool
) -> None:
    """What the suite asks of a model's wits, the grammar does here."""
    model = ChatOpenAI(
        model=tool_model, use_responses_api=responses, temperature=0, max_completion_tokens=300, **connection
    )
    forced = model.bind_tools([Pet], tool_choice="Pet", parallel_tool_calls=False)
    whole = await forced.ainvoke("hi")
    [call] = whole.tool_calls
    assert call["name"] == "Pet"
    assert Pet.model_validate(call["args"])
    streamed = AIMessageChunk(content="")
    async for chunk in forced.astream("hi"):
        assert isinstance(chunk, AIMessageChunk)
        streamed += chunk
    assert [each["args"] for each in streamed.tool_calls] == [call["args"]]
    for method in ("json_schema", "function_calling"):
        structured = model.with_structured_output(Pet, method=method, strict=True)
        assert isinstance(await structured.ainvoke("hi"), Pet)
    answered = model.invoke([HumanMessage("hi"), whole, ToolMessage("done", tool_call_id=call["id"])])
    assert answered.text


class TestEmbeddings(EmbeddingsIntegrationTests):
    """OpenAIEmbeddings. Its counting of tokens is off: that would fetch OpenAI's own vocabulary."""

    @pytest.fixture(autouse=True)
    def _connect(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {
            "model": "cria",
            **self.connection,
            "check_embedding_ctx_length": False,
        }
