"""Anthropic's request bodies to the runtime's request, with a warning for each field that is not honoured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from pydantic import Field

from puna.chat import AUTO, ImageFile, Message, Think, Tool, ToolCall, ToolChoice
from puna.errors import InvalidRequest
from puna.runtime import ChatRequest, Grammar, Options
from puna.runtime.parameters import parse_format, parse_parameters, parse_priority
from puna.runtime.settings import keep_alive_seconds
from puna.server.body import Body, Integer, PunaBody
from puna.server.images import from_base64, together
from puna.server.replies import history_policy, refuse_if_strict

EFFORTS: Mapping[str, Think] = {"low": "low", "medium": "medium", "high": "high", "xhigh": "max", "max": "max"}
CHOICES: Mapping[str, ToolChoice] = {"auto": AUTO, "none": ToolChoice("none"), "any": ToolChoice("required")}
# Blocks of an assistant's that no model here can read, and why.
LEFT_OUT = {
    "redacted_thinking": "nobody here can read them",
    "server_tool_use": "nothing is searched for here",
    "web_search_tool_result": "nothing is searched for here",
    "web_fetch_tool_result": "nothing is fetched here",
}
THINKING = ("enabled", "disabled", "adaptive")

# Fields that are about the caller, or ask for what is the case anyway (every prefix is cached): nothing is lost.
WITHOUT_EFFECT = frozenset({"metadata", "service_tier", "inference_geo", "user_profile_id", "workspace_id"})


class PartBody(Body):
    """A block that holds text: of the system prompt, or of a tool's result."""

    type: str = Field(description='"text", or "document" with a source of type "text".')
    text: str | None = Field(default=None, description="The text of a text block.")
    source: dict[str, Any] | None = Field(
        default=None, description="Of a document: its type, and its text as `data`. Of an image: base64, and its bytes."
    )
    title: str | None = Field(default=None, description="Of a document: put before its text.")
    context: str | None = Field(default=None, description="Of a document: put before its text too.")
    cache_control: dict[str, Any] | None = Field(default=None, description="No effect: every prefix is cached.")

    def words(self) -> str:
        """Its text. Raises InvalidRequest for a block that has none."""
        if self.type == "text" and self.text is not None:
            return self.text
        if self.type == "document" and self.source and self.source.get("type") == "text":
            return "\n".join(filter(None, [self.title, self.context, str(self.source.get("data", ""))]))
        raise InvalidRequest(f"a content block of type {self.type!r} is not supported here: send text")


class BlockBody(PartBody):
    """A block of a message."""

    type: str = Field(
        description='"text", "document", "image", "thinking", "redacted_thinking", "tool_use" or "tool_result".'
    )
    thinking: str | None = Field(default=None, description="The text of a thinking block.")
    signature: str | None = Field(default=None, description="Of a thinking block; no effect: ours are not signed.")
    data: str | None = Field(
        default=None, description="Of a redacted_thinking block, which is left out: nobody here can read it."
    )
    id: str | None = Field(default=None, description="Of a tool_use block: what its result refers to.")
    name: str | None = Field(default=None, description="Of a tool_use block: the tool's name.")
    input: dict[str, Any] | None = Field(default=None, description="Of a tool_use block: the arguments.")
    caller: dict[str, Any] | None = Field(default=None, description="Of a tool_use block; no effect: it was the model.")
    tool_use_id: str | None = Field(
        default=None, description="Of a tool_result block: the id of the tool_use that it answers."
    )
    content: str | list[PartBody] | None = Field(
        default=None, description="Of a tool_result block: what the tool returned."
    )
    is_error: bool = Field(default=False, description="Of a tool_result block: the tool failed; the model is told.")

    def result(self) -> str:
        """What a tool returned, as the model reads it."""
        content = self.content or ""
        text = content if isinstance(content, str) else _joined(part.words() for part in content)
        return f"Error: {text}" if self.is_error else text

    def image(self) -> bytes:
        """The file of an image block."""
        match self.source:
            case {"type": "base64", "data": str(data)}:
                return from_base64(data, "the data of an image block")
        raise InvalidRequest("the source of an image block must have the type base64, and data: nothing is fetched")

    def call(self) -> ToolCall:
        """The call of a tool_use block."""
        if not self.name or not self.id:
            raise InvalidRequest("a tool_use block must have an id and a name")
        return ToolCall(self.id, self.name, self.input or {})


class MessageBody(Body):
    """One message."""

    role: str = Field(description='"user" or "assistant"; "system" for instructions in the midst of a conversation.')
    content: str | list[BlockBody] = Field(description="The text, or the blocks it is made of.")

    def blocks(self) -> Sequence[BlockBody]:
        """A text is a single block."""
        return [BlockBody(type="text", text=self.content)] if isinstance(self.content, str) else self.content


class ToolBody(Body):
    """A tool that the model may call."""

    type: str = Field(default="custom", description='"custom". The model is not told of Anthropic\'s own tools.')
    name: str = Field(description="The tool's name.")
    description: str = Field(default="", description="What it does and when it is to be called.")
    input_schema: dict[str, Any] | None = Field(default=None, description="The JSON schema of its arguments.")
    strict: bool | None = Field(
        default=None,
        description="Hold the arguments to the schema; calls that are forced always are.",
    )
    eager_input_streaming: bool | None = Field(default=None, description="No effect: a call comes whole.")
    cache_control: dict[str, Any] | None = Field(default=None, description="No effect: every prefix is cached.")

    @property
    def own(self) -> bool:
        """Whether it is one of Anthropic's, which have no schema: the model cannot know them."""
        return self.type != "custom"

    def tool(self) -> Tool:
        """As the runtime takes it."""
        if self.input_schema is None:
            raise InvalidRequest(f"tools: {self.name!r} has no input_schema")
        return Tool(self.name, self.description, self.input_schema, bool(self.strict))


class ToolChoiceBody(Body):
    """Whether tools are called."""

    type: str = Field(description='"auto", "any" (one at least), "tool" (the one called `name`) or "none".')
    name: str | None = Field(default=None, description='With "tool": its name.')
    disable_parallel_tool_use: bool = Field(default=False, description="At most one call in an answer.")

    def choice(self) -> ToolChoice:
        """As the runtime takes it."""
        if self.type == "tool" and self.name:
            return ToolChoice("required", self.name)
        if self.type not in CHOICES:
            raise InvalidRequest(f"tool_choice: {self.type!r} is not auto, any, none, or tool with a name")
        return CHOICES[self.type]


class ThinkingBody(Body):
    """Whether to think before answering."""

    type: str = Field(description='"enabled", "disabled", or "adaptive": as much as `output_config.effort` says.')
    budget_tokens: Integer | None = Field(
        default=None, description="A thought that has so many tokens is ended, and the answer goes on after it."
    )
    display: str | None = Field(
        default=None, description='"summarized": the thinking is shown; "omitted": it is left out.'
    )


class OutputConfigBody(Body):
    """How to answer."""

    effort: str | None = Field(default=None, description="How much to think: low, medium, high, xhigh or max.")
    format: dict[str, Any] | None = Field(
        default=None, description='`{"type": "json_schema", "schema": ...}`: the answer keeps to it.'
    )

    def grammar(self) -> Grammar | None:
        """What the answer is held to."""
        if self.format is None:
            return None
        if self.format.get("type") != "json_schema" or not isinstance(self.format.get("schema"), dict):
            raise InvalidRequest("output_config.format must have the type json_schema and a schema")
        return parse_format(self.format["schema"])


class CountBody(Body):
    """/v1/messages/count_tokens: what makes the prompt."""

    model: str = Field(default="", description="The model's name.")
    messages: list[MessageBody] = Field(
        default_factory=list,
        description="The conversation; where the last turn is the assistant's, the answer goes on with it.",
    )
    system: str | list[PartBody] = Field(default="", description="The system prompt.")
    tools: list[ToolBody] = Field(default_factory=list, description="The tools that the model may call.")
    tool_choice: ToolChoiceBody | None = Field(default=None, description="Whether it calls them.")
    thinking: ThinkingBody | None = Field(
        default=None, description="Whether it thinks before it answers; by default it does not."
    )
    output_config: OutputConfigBody = Field(default=OutputConfigBody(), description="How to answer.")
    cache_control: dict[str, Any] | None = Field(default=None, description="No effect: every prefix is cached.")
    options: dict[str, Any] = Field(
        default_factory=dict, description="Ollama's options; the fields beside it go first."
    )
    puna: PunaBody = Field(
        default=PunaBody(), description="What to do about too long a history, and whether to be strict."
    )

    def request(self) -> tuple[ChatRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        options, option_warnings = self.runtime_options()
        warnings = (*self._warnings(), *option_warnings)
        refuse_if_strict(self.puna, warnings)
        choice = self.tool_choice or ToolChoiceBody(type="auto")
        return ChatRequest(
            model=self.model,
            messages=self._conversation(),
            options=options,
            tools=tuple(tool.tool() for tool in self.tools if not tool.own),
            tool_choice=choice.choice(),
            parallel_tool_calls=not choice.disable_parallel_tool_use,
            think=self._think(),
            keep_alive=self.keep_alive_seconds,
            history=history_policy(self.puna),
        ), warnings

    @property
    def keep_alive_seconds(self) -> float | None:
        """Seconds; None: the default."""
        return None

    def runtime_options(self) -> tuple[Options, tuple[str, ...]]:
        """What Ollama's options say, with warnings, and what the answer is held to."""
        below, warnings = parse_parameters(self.options)
        budget = self.thinking.budget_tokens if self.thinking else None
        return Options(grammar=self.output_config.grammar(), thinking_tokens=budget).over(below), warnings

    def _conversation(self) -> tuple[Message, ...]:
        system = self.system if isinstance(self.system, str) else _joined(part.words() for part in self.system)
        messages = _messages(self.messages)
        if not messages:
            raise InvalidRequest("messages: at least one message is required")
        return (*([Message("system", system)] if system else []), *messages)

    def _think(self) -> Think:
        """As in Anthropic's API, none unless it is asked for: clients take the first block for the answer."""
        effort = self.output_config.effort
        if effort is not None and effort not in EFFORTS:
            raise InvalidRequest(f"output_config.effort must be one of {', '.join(EFFORTS)}, not {effort!r}")
        if self.thinking is None and effort is None:
            return False
        kind = "adaptive" if self.thinking is None else self.thinking.type
        if kind not in THINKING:
            raise InvalidRequest(f"thinking.type must be one of {', '.join(THINKING)}, not {kind!r}")
        return kind != "disabled" and (True if effort is None else EFFORTS[effort])

    def _warnings(self) -> list[str]:
        kinds = dict.fromkeys(block.type for message in self.messages for block in message.blocks())
        unknown = [name for name in self.unknown() if name not in WITHOUT_EFFECT]
        return [
            *(f"blocks of type {kind!r} were left out: {LEFT_OUT[kind]}" for kind in kinds if kind in LEFT_OUT),
            *(
                f"tool {tool.name!r} of type {tool.type!r} is not supported: the model was not told of it"
                for tool in self.tools
                if tool.own
            ),
            *(f"field {name!r} is unknown: it was ignored" for name in unknown),
        ]


class MessagesBody(CountBody):
    """/v1/messages. `keep_alive`, `priority`, `options` (Ollama's) and `puna` are additions to its fields."""

    max_tokens: Integer | None = Field(
        default=None, description="Required: the most tokens to answer with; 0: compute the prompt only."
    )
    stream: bool = Field(default=False, description="Answer in server-sent events, as the text comes.")
    temperature: float | None = Field(default=None, description="0: always the likeliest token. 1 where nobody says.")
    top_p: float | None = Field(
        default=None, description="Of the likeliest tokens that together reach it. 1 where nobody says."
    )
    top_k: Integer | None = Field(default=None, description="Of the so many likeliest tokens; 0: of all.")
    stop_sequences: list[str] = Field(default_factory=list, description="Texts before which the answer ends.")
    keep_alive: Any = Field(
        default=None, description='How long the model stays loaded: seconds, or "5m"; negative: for ever.'
    )
    priority: Any = Field(default=None, description='The lane: "normal", or "background", which gives way to it.')

    @property
    def keep_alive_seconds(self) -> float | None:
        """Seconds; None: the default."""
        return keep_alive_seconds(self.keep_alive)

    def runtime_options(self) -> tuple[Options, tuple[str, ...]]:
        """Anthropic's fields over `options`; temperature and top_p are 1 where neither says."""
        if self.max_tokens is None:
            raise InvalidRequest("max_tokens: field required")
        below, warnings = super().runtime_options()
        own = Options(
            max_tokens=self.max_tokens,
            stop=tuple(self.stop_sequences) or None,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            priority=None if self.priority is None else parse_priority("priority", self.priority),
        )
        return own.over(below).over(Options(temperature=1.0, top_p=1.0)), warnings


def _messages(bodies: Sequence[MessageBody]) -> list[Message]:
    """As the runtime takes them: results of tools are messages of their own, and neighbours of one role are one turn.

    Raises:
        InvalidRequest: also for a result that answers no call.
    """
    names: dict[str, str] = {}
    flat = [message for body in bodies for block in body.blocks() for message in _message(body.role, block, names)]
    turns: list[Message] = []
    for role, group in groupby(flat, key=lambda message: message.role):
        neighbours = list(group)
        turns += neighbours if role == "tool" else [_turn(neighbours)]
    return turns


def _message(role: str, block: BlockBody, names: dict[str, str]) -> list[Message]:
    """One block as a message by itself; none for one that is left out. `names` are the tools by their calls' ids."""
    match role, block.type:
        case "assistant", "thinking":
            return [Message(role, "", thinking=block.thinking or "")]
        case "assistant", kind if kind in LEFT_OUT:
            return []
        case "assistant", "tool_use":
            call = block.call()
            names[str(call.id)] = call.name
            return [Message(role, "", tool_calls=(call,))]
        case "user", "image":
            return [Message(role, "", images=(ImageFile(block.image()),))]
        case "user", "tool_result":
            if block.tool_use_id not in names:
                raise InvalidRequest(
                    f"messages: tool_use_id {block.tool_use_id!r} is not the id of any tool_use before it"
                )
            return [Message("tool", block.result(), tool_call_id=block.tool_use_id, tool_name=names[block.tool_use_id])]
        case "user" | "assistant" | "system", _:
            return [Message(role, block.words())]
    raise InvalidRequest(f"messages: {role!r} is not a role; use user or assistant")


def _turn(neighbours: Sequence[Message]) -> Message:
    thoughts = _joined(message.thinking or "" for message in neighbours)
    content, images = together(part for message in neighbours for part in _parts(message) if part)
    return replace(
        neighbours[0],
        content=content,
        images=images,
        thinking=thoughts or None,
        tool_calls=tuple(call for message in neighbours for call in message.tool_calls),
    )


def _parts(message: Message) -> list[str | bytes]:
    return [*(image.data for image in message.images), message.content]


def _joined(texts: Iterable[str]) -> str:
    return "\n".join(filter(None, texts))
