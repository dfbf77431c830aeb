"""What a user of litellm does, by each route that reaches us; prints what it got as JSON.

A program of its own: litellm leaves sockets and event loops open, and its own code warns.

    python -m tests.clients.litellm_calls URL
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

# Before the import: no look-up of prices over the network.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

# The path that each route's base URL has.
ROUTES = {"ollama_chat": "", "ollama": "", "openai": "/v1", "anthropic": ""}
CHINESE = [{"role": "user", "content": "你会说中文吗"}]
TOO_LONG = [{"role": "user", "content": "w " * 5000}]


def arguments(url: str, route: str, **more: Any) -> dict[str, Any]:
    """Of a call of any route."""
    where = {"model": f"{route}/cria", "api_base": url + ROUTES[route], "api_key": "unused", "num_retries": 0}
    return {**where, "messages": CHINESE, "temperature": 0, "max_tokens": 100, **more}


def joined(chunks: list[Any]) -> str:
    """The text of a stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def in_async(asked: dict[str, Any]) -> str:
    """The same streamed to asynchronous code."""
    return joined([chunk async for chunk in await litellm.acompletion(**asked, stream=True)])


def error_of(asked: dict[str, Any]) -> str:
    """The name of the exception that a call raises."""
    try:
        litellm.completion(**asked)
    except Exception as error:
        return type(error).__name__
    return ""


def chat(url: str, route: str) -> dict[str, Any]:
    """All that is done by one route."""
    asked = arguments(url, route)
    whole = litellm.completion(**asked)
    chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None)]
    return {
        "text": whole.choices[0].message.content,
        "finish_reason": whole.choices[0].finish_reason,
        "completion_tokens": whole.usage.completion_tokens,
        "streamed": joined(chunks),
        "streamed_tokens": usages[-1].completion_tokens if usages else None,
        "in_async": asyncio.run(in_async(asked)),
        "too_long": error_of({**asked, "messages": TOO_LONG}),
        "no_model": error_of({**asked, "model": f"{route}/nope"}),
    }


def embeddings(url: str, route: str) -> list[int]:
    """How many numbers each vector has."""
    where = {"model": f"{route}/cria", "api_base": url + ROUTES[route], "api_key": "unused"}
    try:
        reply = litellm.embedding(**where, input=["a llama", "a stone"])
    except Exception as error:
        print(error, file=sys.stderr)
        return []
    return [len(item["embedding"]) for item in reply.data]


def main() -> None:
    """Everything."""
    [url] = sys.argv[1:]
    litellm.suppress_debug_info = True
    text = litellm.text_completion(
        model="text-completion-openai/cria", prompt="hi", api_base=f"{url}/v1", api_key="unused", max_tokens=20
    )
    found = {
        "chats": {route: chat(url, route) for route in ROUTES},
        "embeddings": {route: embeddings(url, route) for route in ("ollama", "openai")},
        "text_completion": text.choices[0].text,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
