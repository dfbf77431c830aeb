"""Thinking, for dialects whose clients ask for it without knowing the model: one that cannot does not, and it is told.

Knows nothing of how a dialect asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from puna.runtime import ChatRequest
from puna.server.live import Service


async def as_able(service: Service, requests: Sequence[ChatRequest]) -> tuple[list[ChatRequest], tuple[str, ...]]:
    """The requests for one model, without thinking where it cannot think, and a warning if that changed them.

    Raises what `Runtime.text_model` raises.
    """
    first = requests[0]
    if not first.think:
        return list(requests), ()
    model = await service.call(service.runtime.text_model, first.model)
    if model.answers.supports_thinking:
        return list(requests), ()
    warning = f'"{first.model}" does not support thinking: it answers without'
    return [replace(request, think=None) for request in requests], (warning,)
