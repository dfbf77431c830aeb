"""OpenAI's chat request body to the runtime's request, with a warning for each field that is not honoured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field

from puna.chat import Message, ToolCall
from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, Grammar, Options
from puna.runtime.parameters import logit_bias, parse_format, parse_parameters, parse_priority
from puna.runtime.settings import keep_alive_seconds
from puna.server.body import Body, Integer, PunaBody
from puna.server.replies import history_policy, logprobs_asked, refuse_if_strict

MAX_CHOICES = 128  # of one request, as in OpenAI's API
REASONING_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra")

# Fields that are about the caller, or ask for what is the case anyway: nothing is lost.
WITHOUT_EFFECT = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)


class FunctionBody(Body):
    """The function of a tool call; its arguments are JSON in a string."""

    name: str
    arguments: str | dict[str, Any] = "{}"


class ToolCallBody(Body):
    """A tool call in a message."""

    id: str | None = None
    type: str = "function"
    index: Integer = 0  # the calls are in their order anyway
    function: FunctionBody

    def tool_call(self) -> ToolCall:
        """With its arguments parsed."""
        arguments: object = self.function.arguments
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}")
            except (ValueError, RecursionError):
                arguments = None
        if not isinstance(arguments, dict):
            raise InvalidRequest(f"the arguments of the call of {self.function.name!r} are not a JSON object")
        return ToolCall(self.id, self.function.name, arguments)


class MessageBody(Body):
    """One message."""

    role: str
    content: str | list[dict[str, Any]] = ""
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCallBody] = Field(default_factory=list)
    tool_call_id: str | None = None
    name: str | None = None

    def message(self) -> Message:
        """As the runtime takes it."""
        role = "system" if self.role == "developer" else self.role
        if role not in ("system", "user", "assistant", "tool"):
            raise InvalidRequest(f"messages: {self.role!r} is not a role; use system, user, assistant or tool")
        return Message(
            role,
            self._text(),
            thinking=self.reasoning_content or self.reasoning,
            tool_calls=tuple(call.tool_call() for call in self.tool_calls),
            tool_call_id=self.tool_call_id,
            tool_name=self.name if role == "tool" else None,
        )

    def _text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        texts = []
        for part in self.content:
            kind, text = part.get("type"), part.get("text")
            if kind not in ("text", "refusal"):
                raise InvalidRequest(f"content of type {kind!r} is not supported: this model answers to text only")
            text = part.get("refusal") if kind == "refusal" else text
            if not isinstance(text, str):
                raise InvalidRequest(f"a content part of type {kind!r} must have its text as a string")
            texts.append(text)
        return "\n".join(texts)


class StreamOptions(Body):
    """How to stream."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatBody(Body):
    """/v1/chat/completions. `priority`, `keep_alive`, `options` (Ollama's) and `puna` are additions to its fields."""

    model: str = ""
    messages: list[MessageBody] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    max_tokens: Integer | None = None
    max_completion_tokens: Integer | None = None
    n: Integer = 1
    stop: str | list[str] = Field(default_factory=list)
    seed: Integer | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: dict[str, float] = Field(default_factory=dict)
    logprobs: bool = False
    top_logprobs: Integer = 0
    response_format: dict[str, Any] = Field(default_factory=dict)
    tools: list[dict[str, Any]] = Field(default_factory=list)
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    functions: list[dict[str, Any]] = Field(default_factory=list)
    modalities: list[str] = Field(default_factory=lambda: ["text"])
    reasoning_effort: str = "none"
    priority: Any = None
    keep_alive: Any = None
    options: dict[str, Any] = Field(default_factory=dict)
    puna: PunaBody = PunaBody()

    def requests(self) -> tuple[list[ChatRequest], tuple[str, ...]]:
        """One request for each of the `n` choices, with warnings. Raises InvalidRequest."""
        self._refuse()
        options, option_warnings = self._options()
        warnings = (*self._warnings(), *option_warnings)
        refuse_if_strict(self.puna, warnings)
        first = ChatRequest(
            model=self.model,
            messages=tuple(message.message() for message in self.messages),
            options=options,
            keep_alive=keep_alive_seconds(self.keep_alive),
            history=history_policy(self.puna),
        )
        return [_with_seed(first, index) for index in range(self.n)], warnings

    def _refuse(self) -> None:
        """What cannot be ignored without changing the meaning, or is out of range."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        if not self.messages:
            raise InvalidRequest("[] is too short - 'messages'")
        if not 1 <= self.n <= MAX_CHOICES:
            raise InvalidRequest(f"n must be between 1 and {MAX_CHOICES}, not {self.n}")
        if self.top_logprobs and not self.logprobs:
            raise InvalidRequest("top_logprobs needs logprobs to be true")
        if self.tool_choice not in ("auto", "none"):
            raise InvalidRequest("tool_choice: tools are not supported yet, so no call can be required")
        if self.modalities != ["text"]:
            raise InvalidRequest(f"modalities {self.modalities}: only text can be generated")
        if self.reasoning_effort not in REASONING_EFFORTS:
            raise InvalidRequest(f"reasoning_effort must be one of {', '.join(REASONING_EFFORTS)}")
        for name in ("max_tokens", "max_completion_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidRequest(f"{name} must be at least 1, not {value}")

    def _warnings(self) -> list[str]:
        ignored: Mapping[str, object] = {
            "tools are not supported yet: the model was not told of them": self.tools or self.functions,
            "messages.name: the model is not told who speaks": any(
                message.name and message.role != "tool" for message in self.messages
            ),
            "reasoning_effort: this model does not think before it answers": self.reasoning_effort != "none",
            "stream_options.include_obfuscation is not supported": self.stream_options.include_obfuscation,
        }
        unknown = [name for name in self.unknown() if name not in WITHOUT_EFFECT]
        return [warning for warning, asked in ignored.items() if asked] + [
            f"field {name!r} is unknown: it was ignored" for name in unknown
        ]

    def _options(self) -> tuple[Options, tuple[str, ...]]:
        """OpenAI's fields over `options`; temperature and top_p are 1 where neither says."""
        below, warnings = parse_parameters(self.options)
        given = self.model_fields_set
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        own = Options(
            max_tokens=self.max_completion_tokens or self.max_tokens,
            stop=tuple(stop) if stop else None,
            seed=self.seed,
            temperature=self.temperature if "temperature" in given else None,
            top_p=self.top_p if "top_p" in given else None,
            frequency_penalty=self.frequency_penalty if "frequency_penalty" in given else None,
            presence_penalty=self.presence_penalty if "presence_penalty" in given else None,
            logit_bias=logit_bias(self.logit_bias) if self.logit_bias else None,
            grammar=self._grammar(),
            logprobs=logprobs_asked(self.logprobs, self.top_logprobs),
            priority=None if self.priority is None else parse_priority("priority", self.priority),
        )
        return own.over(below).over(Options(temperature=1.0, top_p=1.0)), warnings

    def _grammar(self) -> Grammar | None:
        kind = self.response_format.get("type", "text")
        if kind == "text":
            return None
        if kind == "json_object":
            return parse_format("json")
        if kind != "json_schema":
            raise InvalidRequest(f"response_format: type {kind!r} is not text, json_object or json_schema")
        described = self.response_format.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        if not isinstance(schema, dict):
            raise InvalidRequest("response_format: json_schema.schema must be a JSON schema object")
        return parse_format(schema)


def _with_seed(request: ChatRequest, index: int) -> ChatRequest:
    """The choices of one seed must differ, and be the same ones again for the same seed."""
    if index == 0 or request.options.seed is None:
        return request
    return replace(request, options=replace(request.options, seed=request.options.seed + index))
