"""What may be asked of a model and what comes back, with no API's accent.

The dialects in `server/` and the command line translate to and from these types, which know nothing of HTTP,
JSON or processes. A field that is here is honoured; one that nothing honours is not here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.chat import AUTO, ContextReport, ImageFile, Message, Think, Tool, ToolCall, ToolChoice
from puna.chat.history import Policy
from puna.engine import CacheReceipt, Grammar, Image, Priority
from puna.errors import InvalidRequest, PunaError
from puna.store import LocalModel

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "cancelled"]
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
    thinking_tokens: int | None = None  # a thought that has so many is ended, and the answer goes on after it
    draft_tokens: int | None = None  # proposed at once, checked in one step; 0: none; None: as many as pay

    def __post_init__(self) -> None:
        # The sampling values are checked by the engine's SamplingParams.
        for name, low in (("context_length", MIN_CONTEXT), ("max_tokens", 0), ("thinking_tokens", 1)):
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
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = AUTO
    parallel_tool_calls: bool = True  # False: at most one call in an answer
    think: Think | None = None  # None: as the model does when nobody says
    keep_alive: float | None = None  # seconds the model stays loaded afterwards; FOREVER; None: the default
    history: HistoryPolicy = "drop_oldest"  # what to do when the conversation outgrows the context
    client: str = ""  # whose it is, for a fair share among clients


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Answer or continue one text.

    suffix: the text that comes after the answer; the model fills in between, where it was taught to.
    raw: the prompt is fed as it stands (special tokens in it count). Otherwise it is one user message for the
        chat template, with `system` (or the model's own) before it.
    template: a Go template in place of the model's own.
    context: token ids of an earlier exchange, put before this one; with `raw` any, fed as they stand.
    images: in the prompt.
    """

    model: str
    prompt: str
    suffix: str | None = None
    system: str | None = None
    template: str | None = None
    think: Think | None = None
    raw: bool = False
    context: tuple[int, ...] = ()
    images: tuple[ImageFile, ...] = ()
    options: Options = Options()
    keep_alive: float | None = None
    client: str = ""


Request: TypeAlias = ChatRequest | CompletionRequest


@dataclass(frozen=True, slots=True)
class EmbedRequest:
    """Turn texts into vectors."""

    model: str
    inputs: tuple[str | tuple[int, ...], ...]  # texts, or token ids as the model is to see them
    truncate: bool = True  # a text longer than the context is cut, and reported; False: refused
    dimensions: int | None = None  # keep so many of each vector's numbers, and make it a unit vector again
    context_length: int | None = None  # tokens of a text at most; None: as the model's parameters or the server say
    keep_alive: float | None = None
    client: str = ""
    priority: Priority | None = None


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The vectors of an EmbedRequest, in its order."""

    vectors: NDArray[np.float32]  # (inputs, dimensions), each of length 1
    prompt_tokens: tuple[int, ...]  # of each input, as computed
    truncated: tuple[int, ...]  # indices of the inputs that were cut
    total_seconds: float
    load_seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RankRequest:
    """Say how well each of several documents answers a query. Fields as in EmbedRequest."""

    model: str
    query: str
    documents: tuple[str, ...]
    truncate: bool = True  # a document that does not fit beside the query is cut, and reported; False: refused
    context_length: int | None = None
    keep_alive: float | None = None
    client: str = ""
    priority: Priority | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The scores of a RankRequest's documents, in its order."""

    scores: tuple[float, ...]  # 0 to 1, the more the better
    prompt_tokens: tuple[int, ...]  # of each document with the query, as computed
    truncated: tuple[int, ...]  # indices of the documents that were cut
    total_seconds: float
    load_seconds: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request as the model will see it."""

    text: str  # after the template; [img-0] and so on stand for images
    token_ids: tuple[int, ...]  # in the places of images, any
    context: ContextReport  # what did not fit; `limit` is the context length
    warnings: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()  # those that the model was told of
    continues: bool = False  # it ends in the middle of a text, which the answer goes on with
    images: tuple[Image, ...] = ()
    chat: bool = True  # the answer may have thoughts and tool calls in it, as the model marks them


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation cost. Times in seconds, monotonic clock."""

    prompt_tokens: int  # cached ones included
    cache: CacheReceipt  # how many of these were taken from the prefix cache, and why not more
    completion_tokens: int  # those of the thinking included
    reasoning_tokens: int  # of these, thinking
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
    """The next piece of the answer; never half a character, never half a tool call.

    Never empty, except for the last where log-probabilities were asked for and its tokens have no text.
    """

    text: str
    thinking: str = ""
    tool_calls: tuple[ToolCall, ...] = ()  # each whole, with an id
    logprobs: tuple[TokenLogprob, ...] = ()  # of the tokens that the text is made of, where they were asked for


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a generation that did not fail."""

    reason: FinishReason
    usage: Usage
    grammar_enforced: bool | None = None  # None: no format, schema or tool was asked for
    stop_string: str | None = None  # of those asked for, the one that ended the answer
    thought_cut: bool = False  # its thought was ended at its limit
    token_ids: tuple[int, ...] = field(default=(), repr=False)  # all of the answer's, a stop string's included


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
