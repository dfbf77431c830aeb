"""What may be asked of a model and what comes back, with no API's accent.

`server/ollama.py`, `server/openai.py` and the command line translate to and from these types, which know
nothing of HTTP, JSON or processes. A field that is here is honoured; one that nothing honours is not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Literal, TypeAlias

from puna.chat import ContextReport, Message
from puna.chat.history import Policy
from puna.engine import CacheReceipt, Grammar, Priority
from puna.errors import InvalidRequest, PunaError
from puna.store import LocalModel

FinishReason: TypeAlias = Literal["stop", "length", "cancelled"]
HistoryPolicy: TypeAlias = Policy

FOREVER = math.inf  # a keep-alive without end
MIN_CONTEXT = 4  # tokens, as in Ollama


@dataclass(frozen=True, slots=True)
class Options:
    """How to generate. None means: as the model's own parameters say, else Puna's default.

    Raises:
        InvalidRequest: a value out of its range.
    """

    context_length: int | None = None  # tokens, prompt and answer together
    max_tokens: int | None = None  # None: until the model ends or the context is full; 0: compute the prompt only
    stop: tuple[str, ...] | None = None
    temperature: float | None = None
    top_k: int | None = None  # 0 or less: off
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None  # tokens looked back at; -1: the whole context
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[int, float] | None = None  # token id -> added to its logit
    seed: int | None = None
    priority: Priority | None = None  # the lane it runs in
    grammar: Grammar | None = None  # what the answer is held to
    logprobs: int | None = None  # report each token's log-probability, and so many of the likeliest tokens'
    draft_tokens: int | None = None  # proposed at once, checked in one step; 0: none; None: as many as pay

    def __post_init__(self) -> None:
        # The sampling values are checked by the engine's SamplingParams.
        for name, low in (("context_length", MIN_CONTEXT), ("max_tokens", 0)):
            value = getattr(self, name)
            if value is not None and value < low:
                raise InvalidRequest(f"{name} must be at least {low}, not {value}")

    def over(self, defaults: Options) -> Options:
        """These options, with what they leave open taken from `defaults`."""
        chosen = {f.name: getattr(self, f.name) for f in fields(self)}
        return Options(**{k: getattr(defaults, k) if v is None else v for k, v in chosen.items()})


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """Continue a conversation; the prompt is written by the model's chat template.

    The model's example messages come first, and its system prompt unless `messages` opens with one.
    """

    model: str  # a name of the store, `cria`, or the path of a GGUF file or a Hugging Face folder
    messages: tuple[Message, ...]
    options: Options = Options()
    keep_alive: float | None = None  # seconds the model stays loaded afterwards; FOREVER; None: the default
    history: HistoryPolicy = "drop_oldest"  # what to do when the conversation outgrows the context
    client: str = ""  # whose it is, for a fair share among clients


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Answer or continue one text.

    raw: the prompt is fed as it stands (special tokens in it count). Otherwise it is one user message for the
        chat template, with `system` (or the model's own) before it.
    context: token ids of an earlier exchange, put before this one.
    """

    model: str
    prompt: str
    system: str | None = None
    raw: bool = False
    context: tuple[int, ...] = ()
    options: Options = Options()
    keep_alive: float | None = None
    client: str = ""


Request: TypeAlias = ChatRequest | CompletionRequest


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request as the model will see it."""

    text: str  # after the template
    token_ids: tuple[int, ...]
    context: ContextReport  # what did not fit; `limit` is the context length
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation cost. Times in seconds, monotonic clock."""

    prompt_tokens: int  # cached ones included
    cache: CacheReceipt  # how many of these were taken from the prefix cache, and why not more
    completion_tokens: int
    total_seconds: float  # from the request's arrival in the runtime to its last token
    load_seconds: float  # getting the model ready (loading it, or waiting for its place)
    queue_seconds: float
    prompt_seconds: float  # computing the prompt tokens that were not cached
    decode_seconds: float
    drafted_tokens: int = 0  # proposed by speculation ...
    accepted_tokens: int = 0  # ... and of these, part of the answer


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and how likely the model itself found it, before biases, penalties, filters and temperature."""

    text: str  # half a character is U+FFFD here
    bytes: bytes
    logprob: float  # natural logarithm
    top: tuple[TokenLogprob, ...] = ()  # the likeliest tokens in its place, likeliest first


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the answer; never half a character.

    Never empty, except for the last where log-probabilities were asked for and its tokens have no text.
    """

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()  # of the tokens that the text is made of, where they were asked for


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a generation that did not fail."""

    reason: FinishReason
    usage: Usage
    token_ids: tuple[int, ...] = field(repr=False)  # all that were generated, a stop string's included


Event: TypeAlias = Delta | Finished
SinkEvent: TypeAlias = Delta | Finished | PunaError  # a PunaError is the last event of a generation that failed


@dataclass(frozen=True, slots=True)
class LoadedStatus:
    """One loaded model, as `puna ps` shows it."""

    model: LocalModel
    pid: int
    context_length: int  # tokens a request may use without a reload
    open_requests: int
    expires_at: datetime | None  # with time zone; None: stays until it is unloaded
