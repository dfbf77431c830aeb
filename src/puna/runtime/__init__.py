"""Load and unload models; a request becomes a prompt, the prompt tokens, the tokens text.

Synchronous, on threads. Knows nothing of HTTP and asyncio (the server's), nor of sampling and kernels (the
engine's).
"""

from puna.engine import CacheReceipt, Grammar
from puna.runtime.generation import Generation
from puna.runtime.runtime import Runtime
from puna.runtime.text import TextModel
from puna.runtime.types import (
    FOREVER,
    ChatRequest,
    CompletionRequest,
    Delta,
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    FinishReason,
    HistoryPolicy,
    LoadedStatus,
    Options,
    Prompt,
    Ranking,
    RankRequest,
    Request,
    SinkEvent,
    TokenLogprob,
    Usage,
)

__all__ = [
    "FOREVER",
    "CacheReceipt",
    "ChatRequest",
    "CompletionRequest",
    "Delta",
    "EmbedRequest",
    "Embeddings",
    "Event",
    "FinishReason",
    "Finished",
    "Generation",
    "Grammar",
    "HistoryPolicy",
    "LoadedStatus",
    "Options",
    "Prompt",
    "RankRequest",
    "Ranking",
    "Request",
    "Runtime",
    "SinkEvent",
    "TextModel",
    "TokenLogprob",
    "Usage",
]
