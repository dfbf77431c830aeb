"""The engine: continuous batching over paged KV blocks, samplers, and the runner process.

    types          requests, sampling parameters, events
    sequence       one request on its way
    block_manager  which KV block belongs to whom
    scheduler      which tokens go into the next step
    sampler        logits to a token
    engine         schedule, forward, sample, postprocess
    protocol       the lines between parent and runner
    runner         the child process: one model, one engine
    process        the parent's side of it

Knows token ids only. Here is what a parent needs; `Engine` itself, which brings the model's kernels with it,
is in `puna.engine.engine`.
"""

from __future__ import annotations

from puna.engine.process import OnProgress, RunnerProcess, Sink
from puna.engine.types import (
    EngineUsage,
    ErrorEvent,
    Event,
    FinishedEvent,
    FinishReason,
    GenerationRequest,
    SamplingParams,
    TokenEvent,
)

__all__ = [
    "EngineUsage",
    "ErrorEvent",
    "Event",
    "FinishReason",
    "FinishedEvent",
    "GenerationRequest",
    "OnProgress",
    "RunnerProcess",
    "SamplingParams",
    "Sink",
    "TokenEvent",
]
