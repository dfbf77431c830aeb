"""Messages, tools and tool calls as Ollama writes them, to and from the runtime's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from puna.chat import AUTO, ImageFile, Message, Tool, ToolCall, ToolChoice
from puna.errors import InvalidRequest
from puna.server.body import Body, Integer
from puna.server.file_search import FILE_SEARCH, ToolFields
from puna.server.images import from_base64

ROLES = ("system", "user", "assistant", "tool")


class CalledBody(Body):
    """The function of a tool call."""

    name: str = Field(description="The tool's name.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="Its arguments.")
    index: Integer = Field(default=0, description="No effect: the calls are in their order anyway.")


class ToolCallBody(Body):
    """A tool call in a message."""

    id: str | None = Field(default=None, description="What its result refers to.")
    type: str = Field(default="function", description="Always function.")
    function: CalledBody = Field(description="What is called.")


class MessageBody(Body):
    """One message. LangChain leaves `content` out where an assistant only calls tools."""

    role: str = Field(description='"system", "user", "assistant" or "tool".')
    content: str = Field(default="", description="Its text.")
    thinking: str | None = Field(default=None, description="What an assistant thought before it answered.")
    images: list[str] = Field(
        default_factory=list, description="Pictures before the text, each a file in base64, for a model that sees."
    )
    tool_calls: list[ToolCallBody] = Field(default_factory=list, description="The tools that an assistant called.")
    tool_name: str | None = Field(default=None, description="With the role tool: the tool whose result it is.")
    tool_call_id: str | None = Field(default=None, description="With the role tool: the call whose result it is.")

    def message(self) -> Message:
        """As the runtime takes it."""
        role = self.role.lower()
        if role not in ROLES:
            raise InvalidRequest(f"invalid role {self.role!r}: it must be one of {', '.join(ROLES)}")
        calls = tuple(ToolCall(call.id, call.function.name, call.function.arguments) for call in self.tool_calls)
        images = image_files(self.images)
        return Message(role, self.content, self.thinking, calls, self.tool_call_id, self.tool_name, images)


class FunctionBody(Body):
    """A function that the model may call."""

    name: str = Field(description="What the model calls it.")
    description: str = Field(default="", description="What it does, for the model to read.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="The JSON schema of its arguments.")


class ToolBody(ToolFields):
    """A tool that the model may call; or, Puna's addition, the search in documents."""

    function: FunctionBody | None = Field(default=None, description="The function.")

    def tool(self) -> Tool:
        """As the runtime takes it. Raises InvalidRequest."""
        if self.type != "function":
            raise InvalidRequest(f"tools: the type must be 'function' or {FILE_SEARCH!r}, not {self.type!r}")
        if self.function is None or not self.function.name:
            raise InvalidRequest("tools: a function needs a name")
        return Tool(self.function.name, self.function.description, self.function.parameters)


def image_files(encoded: Sequence[str]) -> tuple[ImageFile, ...]:
    """All before the text. Raises InvalidRequest for what is not base64."""
    return tuple(ImageFile(from_base64(text, f"image {number}")) for number, text in enumerate(encoded))


def messages_of(bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """The conversation. Results that do not say whose they are belong to the open calls, in their order.

    LangChain sends neither name nor id, and templates want one or the other.
    """
    messages = []
    open_calls: list[ToolCall] = []
    for message in (body.message() for body in bodies):
        if message.tool_calls:
            open_calls = list(message.tool_calls)
        elif message.role == "tool" and (call := _answered(message, open_calls)):
            open_calls.remove(call)
            message = replace(  # noqa: PLW2901
                message, tool_call_id=message.tool_call_id or call.id, tool_name=message.tool_name or call.name
            )
        messages.append(message)
    return tuple(messages)


def _answered(result: Message, calls: Sequence[ToolCall]) -> ToolCall | None:
    """The first of the open calls that this may be the result of."""
    fits = (
        call for call in calls if result.tool_call_id in (None, call.id) and result.tool_name in (None, "", call.name)
    )
    return next(fits, None)


def tool_choice(value: str | dict[str, Any]) -> ToolChoice:
    """OpenAI's `tool_choice`, which Ollama does not have. Raises InvalidRequest."""
    match value:
        case "auto":
            return AUTO
        case "none":
            return ToolChoice("none")
        case "required":
            return ToolChoice("required")
        case {"type": "function", "function": {"name": str(name)}}:
            return ToolChoice("required", name)
    raise InvalidRequest("tool_choice must be 'auto', 'none', 'required' or {'type': 'function', 'function': {'name'}}")


def call_objects(calls: Sequence[ToolCall], before: int) -> list[dict[str, object]]:
    """Calls as Ollama replies them: arguments are an object. `before`: how many came earlier in the answer."""
    return [
        {"id": call.id, "function": {"index": index, "name": call.name, "arguments": dict(call.arguments)}}
        for index, call in enumerate(calls, before)
    ]
