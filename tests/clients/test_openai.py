"""The official `openai` package, as its users call it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel, ConfigDict, Field

from tests import minilm
from tests.server.process import server_process

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
CHINESE: list[ChatCompletionMessageParam] = [{"role": "user", "content": "你会说中文吗"}]
ADD: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "maximum": 99}, "b": {"type": "integer", "maximum": 99}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}


class Pet(BaseModel):
    """What answers are held to."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=8)
    legs: int = Field(ge=0, le=9)


class add(BaseModel):  # noqa: N801  the client names the tool after the class
    """Add two numbers."""

    a: int = Field(le=99)
    b: int = Field(le=99)


def options(url: str) -> dict[str, Any]:
    return {"base_url": f"{url}/v1", "api_key": "unused", "max_retries": 0}


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(**options(url)) as client:
        yield client


def test_chat_plain_and_streamed(client: openai.OpenAI) -> None:
    create = client.chat.completions.create
    whole = create(model="cria", messages=CHINESE, temperature=0)
    assert "中文" in (whole.choices[0].message.content or "")
    chunks = list(
        create(model="cria", messages=CHINESE, temperature=0, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert whole.usage is not None
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == 0


def test_the_streaming_helper_accumulates_to_the_same(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="cria", messages=HI, temperature=0) as stream:
        deltas = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion().choices[0].message.content
    assert "".join(deltas) == final
    assert final == client.chat.completions.create(model="cria", messages=HI, temperature=0).choices[0].message.content


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_tool_is_called_plain_and_streamed(client: openai.OpenAI, tool_model: str, choice: Any) -> None:
    fields: dict[str, Any] = {
        "model": tool_model,
        "messages": HI,
        "tools": [ADD],
        "tool_choice": choice,
        "temperature": 0,
    }
    [whole] = client.chat.completions.create(**fields, parallel_tool_calls=False).choices
    assert whole.finish_reason == "tool_calls"
    [call] = whole.message.tool_calls or []
    assert call.type == "function"
    assert call.id
    assert call.function.name == "add"
    assert set(add.model_validate_json(call.function.arguments).model_dump()) == {"a", "b"}
    with client.chat.completions.stream(**fields, parallel_tool_calls=False) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls"
    assert [each.function.arguments for each in streamed.message.tool_calls or []] == [call.function.arguments]


def test_a_tools_result_is_answered_and_none_calls_nothing(client: openai.OpenAI, tool_model: str) -> None:
    called: ChatCompletionMessageParam = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'}}],
    }
    result: ChatCompletionMessageParam = {"role": "tool", "tool_call_id": "c1", "content": "3"}
    reply = client.chat.completions.create(
        model=tool_model, messages=[*HI, called, result], tools=[ADD], tool_choice="none", temperature=0, max_tokens=40
    )
    assert reply.choices[0].message.content
    assert not reply.choices[0].message.tool_calls


def test_a_parsed_tool_and_a_parsed_answer_are_pydantics(client: openai.OpenAI, tool_model: str) -> None:
    parse = client.chat.completions.parse
    fields: dict[str, Any] = {"model": tool_model, "messages": HI, "temperature": 1.5, "seed": 1, "max_tokens": 400}
    assert isinstance(parse(**fields, response_format=Pet).choices[0].message.parsed, Pet)
    tools = [openai.pydantic_function_tool(add)]
    [call, *_] = parse(**fields, tools=tools, tool_choice="required").choices[0].message.tool_calls or []
    assert isinstance(call.function.parsed_arguments, add)


def test_functions_of_old_are_called_in_their_old_shape(client: openai.OpenAI, tool_model: str) -> None:
    fields: dict[str, Any] = {"functions": [ADD["function"]], "function_call": {"name": "add"}, "temperature": 0}
    [whole] = client.chat.completions.create(model=tool_model, messages=HI, **fields).choices
    assert whole.finish_reason == "function_call"
    assert whole.message.function_call is not None
    assert whole.message.function_call.name == "add"
    assert whole.message.tool_calls is None
    streamed = [
        chunk.choices[0].delta.function_call
        for chunk in client.chat.completions.create(model=tool_model, messages=HI, stream=True, **fields)
    ]
    pieces = [each for each in streamed if each is not None]
    assert "".join(each.name or "" for each in pieces) == "add"
    assert "".join(each.arguments or "" for each in pieces) == whole.message.function_call.arguments
    answered = client.chat.completions.create(
        model=tool_model,
        messages=[
            *HI,
            {"role": "assistant", "content": None, "function_call": {"name": "add", "arguments": '{"a": 1, "b": 2}'}},
            {"role": "function", "name": "add", "content": "3"},
        ],
        max_tokens=5,
    )
    assert answered.choices[0].message.content


def test_responses_plain_streamed_continued_and_forgotten(client: openai.OpenAI) -> None:
    first = client.responses.create(model="cria", input="hi", temperature=0)
    assert first.output_text
    with client.responses.stream(model="cria", input="hi", temperature=0) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text == first.output_text
    second = client.responses.create(model="cria", input="who are you?", previous_response_id=first.id)
    assert second.output_text
    assert client.responses.retrieve(second.id).output_text == second.output_text
    assert [item.type for item in client.responses.input_items.list(second.id, order="asc")] == ["message"] * 3
    assert client.responses.input_tokens.count(model="cria", input="hi").input_tokens == first.usage.input_tokens  # type: ignore[union-attr]
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)


def test_responses_call_tools_and_take_their_outputs(client: openai.OpenAI, tool_model: str) -> None:
    tool: Any = {"type": "function", **ADD["function"]}
    fields: dict[str, Any] = {"model": tool_model, "tools": [tool], "temperature": 0, "parallel_tool_calls": False}
    called = client.responses.create(**fields, input="1 + 2?", tool_choice={"type": "function", "name": "add"})
    [call] = [item for item in called.output if item.type == "function_call"]
    assert add.model_validate_json(call.arguments)
    with client.responses.stream(**fields, input="1 + 2?", tool_choice={"type": "function", "name": "add"}) as stream:
        arguments = "".join(event.delta for event in stream if event.type == "response.function_call_arguments.delta")
        final = stream.get_final_response()
    assert arguments == call.arguments
    assert [item.type for item in final.output] == [item.type for item in called.output]
    answered = client.responses.create(
        **fields,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "3"}],
        previous_response_id=called.id,
        tool_choice="none",
        max_output_tokens=40,
    )
    assert answered.output_text
    assert isinstance(client.responses.parse(model="cria", input="hi", text_format=Pet).output_parsed, Pet)


def test_completions_plain_and_streamed(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="cria", prompt="How are", max_tokens=5, temperature=0, logprobs=1)
    assert whole.choices[0].logprobs is not None
    assert "".join(whole.choices[0].logprobs.tokens or []) == whole.choices[0].text
    chunks = client.completions.create(model="cria", prompt="How are", max_tokens=5, temperature=0, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


def test_embeddings_by_default_in_base64_are_the_same_as_floats(client: openai.OpenAI) -> None:
    texts = ["the sky is blue", "the sea is blue", "你好"]
    floats = client.embeddings.create(model="cria", input=texts, encoding_format="float")
    default = client.embeddings.create(model="cria", input=texts)
    assert np.array_equal([each.embedding for each in default.data], [each.embedding for each in floats.data])
    assert [each.index for each in default.data] == [0, 1, 2]
    assert np.linalg.norm([each.embedding for each in default.data], axis=1) == pytest.approx(1, abs=1e-5)
    assert default.usage.prompt_tokens == default.usage.total_tokens > 0
    short = client.embeddings.create(model="cria", input=texts[0], dimensions=8).data[0].embedding
    assert len(short) == 8
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-5)
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="cria", input=[])


def test_models_and_errors(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"cria:latest", *minilm.NAMES}
    assert client.models.retrieve("cria").id == "cria:latest"
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("a/b")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(model="cria", messages=[{"role": "user", "content": "w " * 5000}])
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="does not support images"):
        client.chat.completions.create(
            model="cria",
            messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,"}}]}],
        )


def test_asynchronously_eight_at_once_and_each_route(url: str) -> None:
    async def run() -> list[str]:
        async with openai.AsyncOpenAI(**options(url)) as client:
            requests = [client.chat.completions.create(model="cria", messages=CHINESE, temperature=0) for _ in range(8)]
            texts = [reply.choices[0].message.content or "" for reply in await asyncio.gather(*requests)]
            stream = await client.chat.completions.create(model="cria", messages=CHINESE, temperature=0, stream=True)
            texts.append("".join([chunk.choices[0].delta.content or "" async for chunk in stream]))
            response = await client.responses.create(model="cria", input="你会说中文吗", temperature=0)
            texts.append(response.output_text)
            assert (await client.completions.create(model="cria", prompt="x", max_tokens=2)).choices[0].text
            assert {model.id async for model in client.models.list()} == {"cria:latest", *minilm.NAMES}
            return texts

    answers = asyncio.run(run())
    assert len(set(answers)) == 1
    assert "中文" in answers[0]


def test_a_wrong_key_is_the_error_its_users_know(tmp_path: Any) -> None:
    with server_process(tmp_path, api_key="right") as url:
        with openai.OpenAI(**{**options(url), "api_key": "wrong"}) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()
        with openai.OpenAI(**{**options(url), "api_key": "right"}) as client:
            assert {model.id for model in client.models.list()} == {"cria:latest", *minilm.NAMES}
