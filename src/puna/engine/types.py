"""What goes into an engine and what comes out: requests, sampling parameters, events, usage.

Plain values, checked when they are made, the same on both sides of the runner's pipe. They know token ids
only: no text, no templates, no API's field names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from puna import errors
from puna.errors import InvalidRequest, PunaError

FinishReason: TypeAlias = Literal["stop", "length", "cancelled"]

MAX_LOGPROBS = 20  # alternatives reported for a token, as in Ollama's and OpenAI's APIs
LARGEST = 1e6  # penalties and biases beyond it mean nothing, and could overflow a logit


class Priority(StrEnum):
    """A lane. What is in the background never delays what is not: titles and tags of a chat, say."""

    NORMAL = "normal"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next token is drawn: llama.cpp's parameters, in the order of its default chain.

    logit_bias        ((token id, bias), ...), added first; a bias of -inf bans the token
    repeat_last_n     the penalties look at this many last tokens, prompt included; -1 = all, 0 = none
    repeat_penalty    divides a positive logit, multiplies a negative one; 1 = off
    frequency_penalty subtracted once for each occurrence; presence_penalty: once if the token occurs at all
    top_k             keep the k likeliest; 0 or less = all
    typical_p         keep the most typical tokens up to this probability (arXiv:2202.00666); 1 = off
    top_p             keep the likeliest tokens up to this probability (arXiv:1904.09751); 1 = off
    min_p             drop tokens less likely than this share of the likeliest (arXiv:2407.01082); 0 = off
    temperature       divides the logits of what is left; 0 = take the likeliest of all
    seed              None draws a fresh one for each request

    Raises InvalidRequest for a value out of range, NaN or of the wrong type.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        _check_float("temperature", self.temperature, low=0.0)
        _check_int("top_k", self.top_k)
        for name in ("top_p", "min_p", "typical_p"):
            _check_float(name, getattr(self, name), low=0.0, high=1.0)
        _check_float("repeat_penalty", self.repeat_penalty, low=1 / LARGEST, high=LARGEST)
        _check_int("repeat_last_n", self.repeat_last_n, low=-1)
        _check_float("presence_penalty", self.presence_penalty, low=-LARGEST, high=LARGEST)
        _check_float("frequency_penalty", self.frequency_penalty, low=-LARGEST, high=LARGEST)
        if self.seed is not None:
            _check_int("seed", self.seed, low=-(2**63), high=2**64 - 1)
        for token, bias in self.logit_bias:
            _check_int("a token id in logit_bias", token, low=0)
            if bias != -math.inf:
                _check_float(f"the logit_bias of token {token}", bias, low=-LARGEST, high=LARGEST)


@dataclass(frozen=True, slots=True)
class Grammar:
    """What the answer is held to: JSON of a schema, a regular expression, or a grammar in llguidance's notation (Lark)
    or llama.cpp's (GBNF).

    Whether `source` is one, the engine finds out.
    """

    kind: Literal["json_schema", "regex", "lark", "gbnf"]
    source: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a prompt. What the model makes of it takes the places of `rows` tokens, whose ids mean nothing.

    pixels: uint8, height x width x 3, of the size that the model's image encoder takes.
    """

    start: int  # how many tokens come before it
    rows: int
    pixels: bytes = field(repr=False)

    @property
    def end(self) -> int:
        """How many tokens come before what follows it."""
        return self.start + self.rows


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One prompt to continue. `id` names it in every event; it must be unlike that of any request still open.

    max_tokens  at most this many new tokens; None = until the context is full; 0 = evaluate the prompt only
    stop_ids    a token that ends the answer and is not emitted
    grammar     the answer is held to it, and ends where it is complete
    logprobs    report each token's log-probability, and so many of the likeliest tokens'; None = report none
    draft_tokens  at most so many tokens are proposed at once and checked in one step; None = as many as pay; 0 = none.
        It changes the speed alone.
    priority    the lane it runs in
    client      whose it is, for a fair share among clients; any name, the same for all requests of one client
    adapter     the path of one of the LoRA adapters that were loaded beside the model; empty = none
    images      in the order of their places, none over another
    """

    id: str
    prompt: tuple[int, ...]
    max_tokens: int | None = None
    stop_ids: frozenset[int] = frozenset()
    sampling: SamplingParams = field(default_factory=SamplingParams)
    grammar: Grammar | None = None
    logprobs: int | None = None
    draft_tokens: int | None = None
    priority: Priority = Priority.NORMAL
    client: str = ""
    adapter: str = ""
    images: tuple[Image, ...] = ()

    def __post_init__(self) -> None:
        if not self.prompt:
            raise InvalidRequest("the prompt has no tokens; give at least one")
        if self.max_tokens is not None:
            _check_int("max_tokens", self.max_tokens, low=0)
        if self.logprobs is not None:
            _check_int("logprobs", self.logprobs, low=0, high=MAX_LOGPROBS)
        if self.draft_tokens is not None:
            _check_int("draft_tokens", self.draft_tokens, low=0)
        _check_places(self.images, len(self.prompt))

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raise InvalidRequest if a token id lies outside 0 .. vocab_size - 1."""
        biased = (token for token, _ in self.sampling.logit_bias)
        named = (("the prompt", self.prompt), ("stop_ids", self.stop_ids), ("logit_bias", biased))
        for name, tokens in named:
            for token in tokens:
                if not 0 <= token < vocab_size:
                    raise InvalidRequest(
                        f"token id {token} in {name} is outside the vocabulary (0 to {vocab_size - 1})"
                    )


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """One text to turn into a vector; by a model that ranks, a pair of texts into its labels' scores.

    second: how many tokens come before the pair's second text. `id`, `priority`,
    `client` and `adapter` as in GenerationRequest.
    """

    id: str
    prompt: tuple[int, ...]
    priority: Priority = Priority.NORMAL
    client: str = ""
    second: int | None = None
    adapter: str = ""

    def __post_init__(self) -> None:
        if self.second is not None:
            _check_int("second", self.second, low=0, high=len(self.prompt))

    def as_prompt(self) -> GenerationRequest:
        """The prompt alone, nothing to be generated after it. Raises InvalidRequest if it is empty."""
        return GenerationRequest(
            self.id, self.prompt, max_tokens=0, priority=self.priority, client=self.client, adapter=self.adapter
        )


@dataclass(frozen=True, slots=True)
class CacheReceipt:
    """What the prefix cache gave a request, and why it did not give more.

    cached_tokens  of the prompt, from its first token on, were not computed
    disk_tokens    of these, read from disk; the others were still in memory
    reason         why the next token was computed; empty: all was cached but the tokens after the last full block
    warnings       what is wrong with the cache itself
    """

    cached_tokens: int = 0
    disk_tokens: int = 0
    reason: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineUsage:
    """What a request cost.

    Seconds are wall-clock: in the queue, from admission to the first token, after it. Of the completion's tokens,
    accepted_tokens were proposed by speculation, which proposed drafted_tokens in all.
    """

    prompt_tokens: int
    cache: CacheReceipt
    completion_tokens: int
    prompt_seconds: float
    decode_seconds: float
    queue_seconds: float
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Natural logarithms of the model's own probabilities, before biases, penalties, filters and temperature.

    chosen  of the token that was drawn
    top     ((token id, log-probability), ...) of the likeliest tokens, likeliest first
    """

    chosen: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """One new token of a request."""

    id: str
    token: int
    logprobs: TokenLogprobs | None = None  # where the request asked for them


@dataclass(frozen=True, slots=True)
class EmbeddingEvent:
    """The last event of an embedding that did not fail: the text's unit vector, float32 in little-endian order.

    Of a model that ranks: a number for each label, as they are.
    """

    id: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class FinishedEvent:
    """The last event of a request that did not fail: a stop token, a limit ('length'), or cancelled."""

    id: str
    reason: FinishReason
    usage: EngineUsage


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The last event of a request that failed. `type` is the name of a class in `puna.errors`."""

    id: str
    message: str
    type: str = "PunaError"

    def exception(self) -> PunaError:
        """The error as an exception of its own type, to be raised."""
        return error_of_type(self.type, self.message)


Event: TypeAlias = TokenEvent | EmbeddingEvent | FinishedEvent | ErrorEvent


def error_of_type(name: str, message: str) -> PunaError:
    """An exception of the class of that name in `puna.errors`; an unknown name gives a plain PunaError."""
    found = getattr(errors, name, None)
    if isinstance(found, type) and issubclass(found, PunaError):
        return found(message)
    return PunaError(f"{name}: {message}")


def _check_places(images: tuple[Image, ...], length: int) -> None:
    end = 0
    for image in images:
        _check_int("the first place of an image", image.start, low=end, high=length)
        _check_int("the rows of an image", image.rows, low=1, high=length - image.start)
        end = image.end


def _check_int(name: str, value: object, *, low: float = -math.inf, high: float = math.inf) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(f"{name} is {value!r}; it must be an integer")
    _check_range(name, value, low, high)


def _check_float(name: str, value: object, *, low: float = -math.inf, high: float = math.inf) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest(f"{name} is {value!r}; it must be a number")
    if not math.isfinite(value):
        raise InvalidRequest(f"{name} is {value!r}; it must be a finite number")
    _check_range(name, value, low, high)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if low <= value <= high:
        return
    wanted = f"at least {low}" if high == math.inf else f"between {low} and {high}"
    raise InvalidRequest(f"{name} is {value}; it must be {wanted}")
