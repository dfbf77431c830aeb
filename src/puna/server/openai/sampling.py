"""The fields that every generating route takes: OpenAI's for sampling, and Puna's own in the same body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import Field

from puna.chat import Think
from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, CompletionRequest, Grammar, Options
from puna.runtime.parameters import logit_bias, parse_parameters, parse_priority
from puna.runtime.settings import keep_alive_seconds
from puna.server.body import Body, Integer, PunaBody
from puna.server.openai.constraints import ConstrainedBody

# OpenAI's efforts as ours; "minimal", "xhigh" and "ultra" are names of the nearest.
EFFORTS: Mapping[str, Think] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "max": "max",
    "xhigh": "max",
    "ultra": "max",
}

# Fields that are about the caller, or ask for what is the case anyway: nothing is lost.
WITHOUT_EFFECT = frozenset({"user", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})

_SWITCH = {"enabled": True, "disabled": False, "adaptive": None, "auto": None}
_THINKING_KEYS = ("enable_thinking", "thinking")  # of chat_template_kwargs: Qwen's and DeepSeek's


R = TypeVar("R", ChatRequest, CompletionRequest)


class StreamOptions(Body):
    """How to stream."""

    include_usage: bool = Field(default=False, description="One more event at the end, with the usage and no choices.")
    include_obfuscation: bool = Field(default=False, description="Not supported.")


class SamplingBody(ConstrainedBody):
    """OpenAI's fields that all its routes share, then Puna's."""

    model: str = Field(default="", description="The model's name.")
    stream: bool = Field(default=False, description="Answer in server-sent events, as the text comes.")
    temperature: float | None = Field(default=None, description="0: always the likeliest token. 1 where nobody says.")
    top_p: float | None = Field(
        default=None, description="Of the likeliest tokens that reach it together. 1 where nobody says."
    )
    stop: str | list[str] | None = Field(default=None, description="Texts before which the answer ends.")
    seed: Integer | None = Field(default=None, description="The same seed and request give the same answer.")
    frequency_penalty: float | None = Field(
        default=None, description="Lowers a token by how often it has come; -2 to 2."
    )
    presence_penalty: float | None = Field(default=None, description="Lowers a token that has come; -2 to 2.")
    logit_bias: dict[str, float] | None = Field(default=None, description="Token ids to what is added to their logits.")

    num_ctx: Integer | None = Field(default=None, description="Tokens of context, prompt and answer together.")
    top_k: Integer | None = Field(default=None, description="Of the so many likeliest tokens; 0: of all.")
    min_p: float | None = Field(
        default=None, description="Of the tokens at least so likely, compared to the likeliest."
    )
    typical_p: float | None = Field(default=None, description="Locally typical sampling; 1: off.")
    repeat_penalty: float | None = Field(
        default=None, description="Divides the logits of tokens that have come; 1: off."
    )
    repetition_penalty: float | None = Field(default=None, description="vLLM's name of `repeat_penalty`.")
    repeat_last_n: Integer | None = Field(
        default=None, description="Tokens that `repeat_penalty` looks back at; -1: all."
    )
    keep_alive: Any = Field(
        default=None, description='How long the model stays loaded: seconds, or "5m"; negative: for ever.'
    )
    priority: Any = Field(default=None, description='The lane: "normal", or "background", which gives way to it.')
    options: dict[str, Any] | None = Field(default=None, description="Ollama's options; the fields beside it go first.")
    puna: PunaBody = Field(
        default=PunaBody(), description="What to do about too long a history, and whether to be strict."
    )

    def checked_model(self) -> str:
        """The model's name. Raises InvalidRequest when there is none."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        return self.model

    @property
    def keep_alive_seconds(self) -> float | None:
        """Seconds; None: the default."""
        return keep_alive_seconds(self.keep_alive)

    def runtime_options(
        self, *, max_tokens: int | None, grammar: Grammar | None, logprobs: int | None
    ) -> tuple[Options, list[str]]:
        """OpenAI's fields over `options`, with warnings; temperature and top_p are 1 where neither says."""
        below, warnings = parse_parameters(self.options or {})
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        own = Options(
            context_length=self.num_ctx,
            max_tokens=max_tokens,
            stop=tuple(stop) if stop else None,
            seed=self.seed,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            typical_p=self.typical_p,
            repeat_penalty=self.repetition_penalty if self.repeat_penalty is None else self.repeat_penalty,
            repeat_last_n=self.repeat_last_n,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            logit_bias=logit_bias(self.logit_bias) if self.logit_bias else None,
            grammar=grammar,
            logprobs=logprobs,
            priority=None if self.priority is None else parse_priority("priority", self.priority),
        )
        return own.over(below).over(Options(temperature=1.0, top_p=1.0)), list(warnings)


class ThinkingSwitch(Body):
    """Whether to think, as Anthropic's, Z.ai's and DeepSeek's APIs write it."""

    type: str = Field(default="enabled", description='"enabled" or "disabled"; "adaptive" is as if it were not there.')
    budget_tokens: Integer | None = Field(default=None, description="As `thinking_budget`.")

    def asked(self) -> bool | None:
        """None: nothing is said. Raises InvalidRequest."""
        if self.type not in _SWITCH:
            raise InvalidRequest(f"thinking.type must be one of {', '.join(_SWITCH)}, not {self.type!r}")
        return _SWITCH[self.type]


class ThinkingBody(SamplingBody):
    """Whether and how much to think, in every spelling."""

    think: bool | str | None = Field(
        default=None, description="Think before answering: true, false, or how much (Ollama's)."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        default=None, description="vLLM's: `enable_thinking` or `thinking` is honoured."
    )

    thinking: ThinkingSwitch | None = Field(default=None, description="Whether to think, as other APIs write it.")
    thinking_budget: Integer | None = Field(
        default=None,
        description="A thought that has so many tokens is ended, and the answer goes on after it; 0: none.",
    )
    thinking_token_budget: Integer | None = Field(default=None, description="vLLM's name of `thinking_budget`.")

    @property
    def budget(self) -> int | None:
        """Tokens that a thought may have; None: no limit."""
        of_switch = self.thinking.budget_tokens if self.thinking else None
        given = (self.thinking_budget, self.thinking_token_budget, of_switch)
        return next((value for value in given if value is not None), None)

    def runtime_options(
        self, *, max_tokens: int | None, grammar: Grammar | None, logprobs: int | None
    ) -> tuple[Options, list[str]]:
        """Those of every route, and the limit of a thought."""
        options, warnings = super().runtime_options(max_tokens=max_tokens, grammar=grammar, logprobs=logprobs)
        return Options(thinking_tokens=self.budget or None).over(options), warnings

    def thinking_asked(self, effort: str | None) -> Think | None:
        """As the runtime takes it; `effort` is the route's own field. Raises InvalidRequest for an unknown effort."""
        if self.budget == 0:
            return False
        if isinstance(self.think, bool):
            return self.think
        if self.think or effort:
            return _effort("think", self.think) if self.think else _effort("reasoning_effort", effort or "")
        if self.thinking and (switch := self.thinking.asked()) is not None:
            return switch
        wishes = self.chat_template_kwargs or {}
        return next((wishes[key] for key in _THINKING_KEYS if isinstance(wishes.get(key), bool)), None)

    def template_warnings(self) -> list[str]:
        """The variables meant for the chat template that do not reach it."""
        ignored = [key for key in self.chat_template_kwargs or {} if key not in _THINKING_KEYS]
        return [f"chat_template_kwargs.{key} is not supported: it was ignored" for key in ignored]


def unknown_warnings(body: Body) -> list[str]:
    """A warning for each field that nothing here knows."""
    return [f"field {name!r} is unknown: it was ignored" for name in body.unknown() if name not in WITHOUT_EFFECT]


def _effort(name: str, value: str) -> Think:
    if value not in EFFORTS:
        raise InvalidRequest(f"{name} must be one of {', '.join(EFFORTS)}, not {value!r}")
    return EFFORTS[value]


def with_seed(request: R, index: int) -> R:
    """The choices of one seed must differ, and be the same ones again for the same seed."""
    if index == 0 or request.options.seed is None:
        return request
    return replace(request, options=replace(request.options, seed=request.options.seed + index))
