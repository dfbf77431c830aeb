"""How `puna.LLM` is asked to generate: its keyword arguments, and the runtime's options made of them.

Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from puna.chat import AUTO, Think, ToolChoice
from puna.conversation import ToolLike
from puna.errors import InvalidRequest
from puna.runtime import Grammar, Options
from puna.runtime.parameters import parse_format


class GenerateOptions(TypedDict, total=False):
    """How to generate. What is left out is as the model's own parameters say, else Puna's default.

    thinking_tokens  a thought that has so many is ended, and the answer goes on after it
    """

    max_tokens: int
    thinking_tokens: int
    stop: str | Sequence[str]
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repeat_penalty: float
    repeat_last_n: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    seed: int
    format: Literal["json"] | Mapping[str, Any] | Grammar
    logprobs: int
    draft_tokens: int


class ChatOptions(GenerateOptions, total=False):
    """How to answer a conversation.

    tools        functions that the model may call, as OpenAI's API writes them
    tool_choice  "auto", "none", "required", or the name of the one that must be called
    think        whether, or how much, to think before the answer
    """

    tools: Sequence[ToolLike]
    tool_choice: str
    think: Think


def tool_choice(choice: str) -> ToolChoice:
    """ "auto", "none", "required", or a tool's name."""
    match choice:
        case "auto":
            return AUTO
        case "none" | "required":
            return ToolChoice(choice)
    return ToolChoice("required", choice)


def runtime_options(options: GenerateOptions) -> Options:
    """Raises InvalidRequest for a name that is not an option or a value that is out of range."""
    given: dict[str, Any] = dict(options)
    if unknown := sorted(given.keys() - GenerateOptions.__annotations__.keys()):
        known = ", ".join(GenerateOptions.__annotations__)
        raise InvalidRequest(f"unknown option {unknown[0]!r}; known are {known}")
    if given.get("stop") is not None:
        given["stop"] = _stop_strings(given["stop"])
    form = given.pop("format", None)
    given["grammar"] = form if isinstance(form, Grammar) else parse_format(form)
    try:
        return Options(**given)
    except TypeError as error:
        raise InvalidRequest(f"an option has a value of the wrong type: {error}") from None


def _stop_strings(stop: object) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list | tuple) or not all(isinstance(each, str) for each in stops):
        raise InvalidRequest(f"stop is a text or a list of texts, not {stop!r}")
    return tuple(stops)
