"""Load and unload models; a request becomes a prompt, the prompt tokens, the tokens text.

Synchronous, on threads. Knows nothing of HTTP and asyncio (the server's), nor of sampling and kernels (the
engine's).
"""

from puna.runtime.generation import Generation
from puna.runtime.runtime import Runtime
from puna.runtime.text import TextModel
from puna.runtime.types import (
    FOREVER,
    ChatRequest,
    CompletionRequest,
    Delta,
    Event,
    Finished,
    FinishReason,
    HistoryPolicy,
    LoadedStatus,
    Options,
    Prompt,
    Request,
    SinkEvent,
    Usage,
)

__all__ = [
    "FOREVER",
    "ChatRequest",
    "CompletionRequest",
    "Delta",
    "Event",
    "FinishReason",
    "Finished",
    "Generation",
    "HistoryPolicy",
    "LoadedStatus",
    "Options",
    "Prompt",
    "Request",
    "Runtime",
    "SinkEvent",
    "TextModel",
    "Usage",
]
