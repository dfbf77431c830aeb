"""Ollama's request bodies to the runtime's requests, with a warning for each field that is not honoured."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field, model_validator

from puna.chat import Message, ToolCall
from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, CompletionRequest, HistoryPolicy, Options
from puna.runtime.parameters import parse_format, parse_parameters
from puna.runtime.settings import keep_alive_seconds
from puna.server.body import Body, Integer, PunaBody
from puna.server.replies import history_policy, logprobs_asked, refuse_if_strict

THINK_LEVELS = ("high", "medium", "low", "max")
ROLES = ("system", "user", "assistant", "tool")


class ModelBody(Body):
    """A request about one model; `name` is its old spelling."""

    model: str = ""

    @model_validator(mode="before")
    @classmethod
    def _accept_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and not data.get("model") and "name" in data:
            data = {**data, "model": data["name"]}
        return {key: value for key, value in data.items() if key != "name"} if isinstance(data, dict) else data

    def required_model(self) -> str:
        """The model's name. Raises InvalidRequest when there is none."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        return self.model


class ShowBody(ModelBody):
    """/api/show."""

    verbose: bool = False


class FunctionBody(Body):
    """The function of a tool call."""

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    index: Integer = 0  # the calls are in their order anyway


class ToolCallBody(Body):
    """A tool call in a message."""

    id: str | None = None
    type: str = "function"
    function: FunctionBody


class MessageBody(Body):
    """One message. LangChain leaves `content` out where an assistant only calls tools."""

    role: str
    content: str = ""
    thinking: str | None = None
    images: list[str] = Field(default_factory=list)
    tool_calls: list[ToolCallBody] = Field(default_factory=list)
    tool_name: str | None = None
    tool_call_id: str | None = None

    def message(self) -> Message:
        """As the runtime takes it."""
        role = self.role.lower()
        if role not in ROLES:
            raise InvalidRequest(f"invalid role {self.role!r}: it must be one of {', '.join(ROLES)}")
        calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in self.tool_calls)
        return Message(role, self.content, self.thinking, calls, self.tool_call_id, self.tool_name)


class GenerationBody(ModelBody):
    """What /api/generate and /api/chat share."""

    stream: bool = True
    format: str | dict[str, Any] = ""
    keep_alive: Any = None
    options: dict[str, Any] = Field(default_factory=dict)
    think: bool | str = False
    truncate: bool = True
    shift: bool = False
    logprobs: bool = False
    top_logprobs: Integer = 0
    debug_render_only: Annotated[bool, Field(alias="_debug_render_only")] = False
    puna: PunaBody = PunaBody()

    @property
    def keep_alive_seconds(self) -> float | None:
        """Seconds; None: the default."""
        return keep_alive_seconds(self.keep_alive)

    def runtime_options(self) -> tuple[Options, tuple[str, ...]]:
        """The options, and warnings about those that are not honoured."""
        options, warnings = parse_parameters(self.options)
        logprobs = logprobs_asked(self.logprobs, self.top_logprobs)
        return replace(options, logprobs=logprobs, grammar=parse_format(self.format)), warnings

    def history(self) -> HistoryPolicy:
        """`truncate: false` forbids to drop anything."""
        return history_policy(self.puna) if self.truncate else "error"

    def check(self) -> list[str]:
        """Refuse what would change the meaning, report what is ignored."""
        self._check_think()
        ignored = {
            "top_logprobs without logprobs: the reply has none": self.top_logprobs and not self.logprobs,
            "shift is not supported: an answer ends where the context is full": self.shift,
        }
        unknown = [f"field {name!r} is unknown: it was ignored" for name in self.unknown()]
        return [warning for warning, asked in ignored.items() if asked] + unknown

    def _check_think(self) -> None:
        if isinstance(self.think, str) and self.think not in ("", *THINK_LEVELS):
            levels = ", ".join(f'"{level}"' for level in THINK_LEVELS)
            raise InvalidRequest(f'invalid think value: "{self.think}" (must be {levels}, true, or false)')
        if self.think:
            raise InvalidRequest(f'"{self.model}" does not support thinking')


class GenerateBody(GenerationBody):
    """/api/generate."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[Integer] = Field(default_factory=list)
    raw: bool = False
    images: list[str] = Field(default_factory=list)

    def request(self) -> tuple[CompletionRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        if self.raw and (self.template or self.system or self.context):
            raise InvalidRequest("raw mode does not support template, system, or context")
        if self.suffix:
            raise InvalidRequest(f'"{self.model}" does not support insert')
        if self.images:
            raise InvalidRequest(f'"{self.model}" does not support images: it answers to text only')
        if self.template:
            raise InvalidRequest("template is not supported: the model's own chat template is used; see raw")
        options, option_warnings = self.runtime_options()
        warnings = (*self.check(), *option_warnings)
        refuse_if_strict(self.puna, warnings)
        return CompletionRequest(
            model=self.model,
            prompt=self.prompt,
            system=self.system or None,
            raw=self.raw,
            context=tuple(self.context),
            options=options,
            keep_alive=self.keep_alive_seconds,
        ), warnings


class ChatBody(GenerationBody):
    """/api/chat."""

    messages: list[MessageBody] = Field(default_factory=list)
    tools: list[dict[str, Any]] = Field(default_factory=list)

    def request(self) -> tuple[ChatRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        if any(message.images for message in self.messages):
            raise InvalidRequest(f'"{self.model}" does not support images: it answers to text only')
        options, option_warnings = self.runtime_options()
        warnings = (*self.check(), *option_warnings)
        if self.tools:
            warnings += ("tools are not supported yet: the model was not told of them",)
        refuse_if_strict(self.puna, warnings)
        return ChatRequest(
            model=self.model,
            messages=tuple(message.message() for message in self.messages),
            options=options,
            keep_alive=self.keep_alive_seconds,
            history=self.history(),
        ), warnings
