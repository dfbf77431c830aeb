"""OpenAI's replies on the wire: JSON objects, server-sent events, usage. Knows nothing of any one route."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from starlette.responses import Response

from puna.chat import ToolCall
from puna.errors import PunaError
from puna.runtime import Finished
from puna.server import errors
from puna.server.encoding import json_bytes
from puna.server.live import Live, LiveResponse
from puna.server.ollama_models import version_number

SSE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
FINGERPRINT = f"fp_puna_{version_number()}"  # looked up once: it takes as long as sending two chunks


def json_reply(value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    """A whole reply."""
    return Response(json_bytes(value), headers=headers, media_type="application/json")


def event(value: Mapping[str, Any]) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + json_bytes(value) + b"\n\n"


def named_event(name: str, value: Mapping[str, Any]) -> bytes:
    """A server-sent event with a name."""
    return b"event: " + name.encode() + b"\n" + event(value)


def failed_piece(error: PunaError) -> bytes:
    """The last event of a stream that fails."""
    return event(errors.openai_error_body(error))


def stream(
    live: Live,
    pieces: AsyncIterator[bytes],
    headers: Mapping[str, str],
    failed_piece: Callable[[PunaError], bytes] = failed_piece,
) -> LiveResponse:
    """A reply of server-sent events; `failed_piece` is the last of one that fails."""
    return LiveResponse(
        live,
        pieces,
        failed=partial(errors.response, "openai"),
        failed_piece=failed_piece,
        media_type=SSE,
        headers={**headers, "Cache-Control": "no-cache"},
    )


def arguments_text(call: ToolCall) -> str:
    """A call's arguments as JSON text, characters as they are: clients show it, and send it back to the model."""
    return json.dumps(dict(call.arguments), ensure_ascii=False)


def usage(ends: Sequence[Finished], prompts: int = 1) -> dict[str, Any]:
    """What all choices cost together; each of the `prompts` counts once, however many choices it has."""
    first = [end.usage for end in ends[:: len(ends) // prompts]]
    prompt = sum(each.prompt_tokens for each in first)
    completion = sum(end.usage.completion_tokens for end in ends)
    drafted = sum(end.usage.drafted_tokens for end in ends)
    accepted = sum(end.usage.accepted_tokens for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(each.cache.cached_tokens for each in first)},
        "completion_tokens_details": {
            "reasoning_tokens": sum(end.usage.reasoning_tokens for end in ends),
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": drafted - accepted,
        },
    }
