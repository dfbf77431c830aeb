"""Anthropic's own package, as its users call it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Literal

import anthropic
import httpx
import pytest
from anthropic.types import MessageParam, ThinkingConfigParam, ToolParam
from pydantic import BaseModel

from tests.server.variant import THINKER, served_variant

HI: list[MessageParam] = [{"role": "user", "content": "hi"}]
CHINESE: list[MessageParam] = [{"role": "user", "content": "你会说中文吗"}]
GREEDY = {"temperature": 0}


def client_of(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0)


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_a_message_plain_and_by_each_way_to_stream(url: str) -> None:
    with client_of(url) as client:
        whole = client.messages.create(model="cria", max_tokens=200, messages=CHINESE, extra_body=GREEDY)
        assert "中文" in text_of(whole)
        assert whole.stop_reason == "end_turn"
        assert whole._request_id == f"req_{whole.id.removeprefix('msg_')}"

        with client.messages.stream(model="cria", max_tokens=200, messages=CHINESE, extra_body=GREEDY) as stream:
            assert "".join(stream.text_stream) == text_of(whole)
            final = stream.get_final_message()
        assert text_of(final) == text_of(whole)
        assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)
        total = final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0)
        assert total == client.messages.count_tokens(model="cria", messages=CHINESE).input_tokens

        events = client.messages.create(model="cria", max_tokens=200, messages=CHINESE, stream=True, extra_body=GREEDY)
        pieces = [
            event.delta.text
            for event in events
            if event.type == "content_block_delta" and event.delta.type == "text_delta"
        ]
        assert "".join(pieces) == text_of(whole)


def test_system_blocks_and_a_stop_sequence(url: str) -> None:
    with client_of(url) as client:
        text = text_of(client.messages.create(model="cria", max_tokens=50, messages=HI, extra_body=GREEDY))
        reply = client.messages.create(
            model="cria",
            max_tokens=50,
            system=[{"type": "text", "text": "You are Puna.", "cache_control": {"type": "ephemeral"}}],
            messages=HI,
        )
        assert text_of(reply)
        stopped = client.messages.create(
            model="cria", max_tokens=50, messages=HI, stop_sequences=[text[6:10]], extra_body=GREEDY
        )
        assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", text[6:10])


def test_the_cached_part_of_a_prompt_is_counted_apart(url: str) -> None:
    messages: list[MessageParam] = [{"role": "user", "content": "one two three four five six seven " * 20}]
    with client_of(url) as client:
        first, second = (client.messages.create(model="cria", max_tokens=2, messages=messages) for _ in range(2))
    assert (first.usage.cache_read_input_tokens or 0) < (second.usage.cache_read_input_tokens or 0)
    for usage in (first.usage, second.usage):
        assert usage.input_tokens + (usage.cache_read_input_tokens or 0) > 100


class Pet(BaseModel):
    """What an answer is held to; the client takes limits of length and size out of the schema."""

    name: Literal["Alpaca", "Llama"]
    legs: Literal[2, 4]


def test_an_answer_is_parsed(url: str) -> None:
    with client_of(url) as client:
        parsed = client.messages.parse(model="cria", max_tokens=200, messages=HI, output_format=Pet)
    assert isinstance(parsed.parsed_output, Pet)


def test_errors_are_its_own(url: str) -> None:
    with client_of(url) as client:
        with pytest.raises(anthropic.NotFoundError, match="nope") as missing:
            client.messages.create(model="nope", max_tokens=5, messages=HI)
        assert missing.value.type == "not_found_error"
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
            client.messages.create(model="cria", max_tokens=5, messages=[{"role": "user", "content": "w " * 5000}])
        with (
            pytest.raises(anthropic.NotFoundError),
            client.messages.stream(model="nope", max_tokens=5, messages=HI) as stream,
        ):
            stream.until_done()


def test_asynchronously_and_streamed_eight_at_once(url: str) -> None:
    async def ask(client: anthropic.AsyncAnthropic) -> str:
        async with client.messages.stream(model="cria", max_tokens=200, messages=CHINESE, extra_body=GREEDY) as stream:
            return "".join([text async for text in stream.text_stream])

    async def run() -> list[str]:
        async with anthropic.AsyncAnthropic(base_url=url, api_key="unused", max_retries=0) as client:
            return await asyncio.gather(*(ask(client) for _ in range(8)))

    answers = asyncio.run(run())
    assert len(set(answers)) == 1
    assert "中文" in answers[0]


WEATHER: ToolParam = {
    "name": "weather",
    "description": "The weather of a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"enum": ["Lima", "Cusco"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


@pytest.fixture(scope="module")
def thinker(http: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A model that is told of tools, and thinks where nobody forbids it."""
    with served_variant(http, tmp_path_factory.mktemp("anthropic") / "thinker.gguf", THINKER) as name:
        yield name


def test_a_tool_is_called_plain_and_streamed_and_its_result_answered(url: str, thinker: str) -> None:
    asked: list[MessageParam] = [{"role": "user", "content": "How is the weather in Lima?"}]
    with client_of(url) as client:
        whole = client.messages.create(
            model=thinker,
            max_tokens=300,
            messages=asked,
            tools=[WEATHER],
            tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            extra_body=GREEDY,
        )
        assert whole.stop_reason == "tool_use"
        [call] = [block for block in whole.content if block.type == "tool_use"]
        assert call.name == "weather"
        assert call.input["city"] in ("Lima", "Cusco")
        with client.messages.stream(
            model=thinker,
            max_tokens=300,
            messages=asked,
            tools=[WEATHER],
            tool_choice={"type": "any", "disable_parallel_tool_use": True},
            extra_body=GREEDY,
        ) as stream:
            kinds = [event.type for event in stream]
            streamed = stream.get_final_message()
        assert "input_json" in kinds
        assert [block.input for block in streamed.content if block.type == "tool_use"] == [call.input]
        result: list[MessageParam] = [
            *asked,
            whole.to_param(),
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
        ]
        answer = client.messages.create(model=thinker, max_tokens=20, messages=result, tools=[WEATHER])
        assert answer.usage.output_tokens


def test_thinking_comes_in_a_block_of_its_own_and_only_when_asked_for(url: str, thinker: str) -> None:
    with client_of(url) as client:
        for thinking in (False, True):
            config: ThinkingConfigParam = (
                {"type": "enabled", "budget_tokens": 1024} if thinking else {"type": "disabled"}
            )
            with client.messages.stream(
                model=thinker, max_tokens=40, messages=HI, thinking=config, extra_body=GREEDY
            ) as stream:
                message = stream.get_final_message()
            assert (message.content[0].type == "thinking") == thinking
            details = message.usage.output_tokens_details
            assert details is not None
            assert (details.thinking_tokens > 0) == thinking


def test_a_thought_ends_at_its_budget_and_the_answer_comes(url: str, thinker: str) -> None:
    with client_of(url) as client:
        message = client.messages.create(
            model=thinker,
            max_tokens=60,
            messages=HI,
            thinking={"type": "enabled", "budget_tokens": 8},
            extra_body=GREEDY,
        )
    assert [block.type for block in message.content] == ["thinking", "text"]
    details = message.usage.output_tokens_details
    assert details is not None
    assert 0 < details.thinking_tokens <= 8


def test_models_are_listed_page_by_page_and_found(url: str) -> None:
    with client_of(url) as client:
        listed = list(client.models.list(limit=1))
        [model] = [each for each in listed if each.id == "cria:latest"]
        assert (model.id, model.type, model.max_input_tokens) == ("cria:latest", "model", 2048)
        assert model.created_at.tzinfo is not None
        assert client.models.retrieve("cria") == model
        assert list(client.models.list(after_id=listed[-1].id)) == []
        with pytest.raises(anthropic.NotFoundError) as missing:
            client.models.retrieve("nope")
        assert isinstance(missing.value.body, dict)
        assert missing.value.body["type"] == "error"
        with pytest.raises(anthropic.BadRequestError, match="limit"):
            list(client.models.list(limit=0))
