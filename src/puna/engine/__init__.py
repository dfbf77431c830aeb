"""The engine: continuous batching over paged KV blocks, samplers, and the runner process.

    types          requests, sampling parameters, events
    sequence       one request on its way
    block_manager  which KV block belongs to whom
    prefix_cache   what of a prompt was computed before: in the blocks, or on disk (prefix_store, within a disk_budget);
                   prefix_hash names blocks, model_key models, prefix_history says where prompts differ
    capacity       how many blocks there are
    scheduler      which tokens go into the next step; fairness and chunk_size say whose and how many
    image_reader   images of prompts to the vectors that take tokens' places
    pooling        final states to the vector of a text
    sampler        logits to a token; logprobs: how likely it was
    grammar        which tokens may come
    speculation    tokens proposed to be checked together; draft_model: those of a small model
    engine         schedule, forward, sample, postprocess
    loading        from a file to an engine
    protocol       the lines between parent and runner
    runner         the child process: one model, one engine
    process        the parent's side of it

Knows token ids only. Here is what a parent needs; `Engine` itself, which brings the model's kernels with it,
is in `puna.engine.engine`.
"""

from __future__ import annotations

from puna.engine.process import OnProgress, RunnerProcess, Sink
from puna.engine.types import (
    CacheReceipt,
    EmbeddingEvent,
    EmbeddingRequest,
    EngineUsage,
    ErrorEvent,
    Event,
    FinishedEvent,
    FinishReason,
    GenerationRequest,
    Grammar,
    Image,
    Priority,
    SamplingParams,
    TokenEvent,
    TokenLogprobs,
)

__all__ = [
    "CacheReceipt",
    "EmbeddingEvent",
    "EmbeddingRequest",
    "EngineUsage",
    "ErrorEvent",
    "Event",
    "FinishReason",
    "FinishedEvent",
    "GenerationRequest",
    "Grammar",
    "Image",
    "OnProgress",
    "Priority",
    "RunnerProcess",
    "SamplingParams",
    "Sink",
    "TokenEvent",
    "TokenLogprobs",
]
