"""The messages of /v1/chat/completions to the runtime's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from puna.chat import ImageFile, Message, ToolCall
from puna.errors import InvalidRequest
from puna.server.body import Body, Integer
from puna.server.images import from_url, together

_ROLES = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_TEXT_FIELDS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}


class CalledBody(Body):
    """The function of a tool call; its arguments are JSON in a string."""

    name: str = Field(description="The function's name.")
    arguments: str | dict[str, Any] = Field(default="{}", description="Its arguments: an object as JSON text.")


class ToolCallBody(Body):
    """A tool call in a message."""

    id: str | None = Field(default=None, description="Ties the result to the call.")
    type: str = Field(default="function", description="Only functions can be called.")
    index: Integer = Field(default=0, description="Its place; the calls are in their order anyway.")
    function: CalledBody = Field(description="What was called.")


class MessageBody(Body):
    """One message."""

    role: str = Field(description="system, developer, user, assistant, tool or function.")
    content: str | list[dict[str, Any]] = Field(
        default="",
        description="The text, or a list of parts: text, and image_url with a data URL for a model that sees.",
    )
    reasoning: str | None = Field(default=None, description="What an assistant thought before it answered.")
    reasoning_content: str | None = Field(default=None, description="The same, as others name it.")
    refusal: str | None = Field(default=None, description="What an assistant said instead of an answer.")
    tool_calls: list[ToolCallBody] = Field(default_factory=list, description="The calls an assistant made.")
    function_call: CalledBody | None = Field(default=None, description="The one call an assistant made (old style).")
    tool_call_id: str | None = Field(default=None, description="The call that a tool's message answers.")
    name: str | None = Field(default=None, description="The function that a tool's message comes from.")

    def message(self, called: Mapping[str, str]) -> Message:
        """As the runtime takes it; `called` are the functions of the calls so far, by their ids."""
        role = role_of(self.role)
        calls = [tool_call(call.function.name, call.function.arguments, call.id) for call in self.tool_calls]
        if self.function_call is not None:
            calls.append(tool_call(self.function_call.name, self.function_call.arguments, None))
        text, images = content_of(self.content)
        return Message(
            role,
            text or self.refusal or "",
            thinking=self.reasoning_content or self.reasoning,
            tool_calls=tuple(calls),
            tool_call_id=self.tool_call_id,
            tool_name=(self.name or called.get(self.tool_call_id or "")) if role == "tool" else None,
            images=images,
        )


def messages_of(bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """The whole conversation. A tool's message is told which function it comes from. Raises InvalidRequest."""
    called: dict[str, str] = {}
    result = []
    for body in bodies:
        result.append(body.message(called))
        called |= {call.id: call.name for call in result[-1].tool_calls if call.id}
    return tuple(result)


def role_of(role: str) -> str:
    """The runtime's name of a role. Raises InvalidRequest for one that there is not."""
    if role not in _ROLES:
        raise InvalidRequest(f"messages: {role!r} is not a role; use system, user, assistant or tool")
    return _ROLES[role]


def tool_call(name: str, arguments: str | Mapping[str, Any], call_id: str | None) -> ToolCall:
    """A call with its arguments parsed. Raises InvalidRequest."""
    parsed: object = arguments
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            parsed = None
    if not isinstance(parsed, dict):
        raise InvalidRequest(f"the arguments of the call of {name!r} are not a JSON object")
    return ToolCall(call_id, name, parsed)


def content_of(content: str | Sequence[Mapping[str, Any]]) -> tuple[str, tuple[ImageFile, ...]]:
    """The text of a message's content, and its images. Raises InvalidRequest for a part that is neither."""
    return (content, ()) if isinstance(content, str) else together(map(_part, content))


def text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    """The same where nothing is shown, as in a tool's result. Raises InvalidRequest for a part that is not text."""
    text, images = content_of(content)
    if images:
        raise InvalidRequest("an image can only be shown in a user's message, not in an answer or a tool's result")
    return text


def _part(part: Mapping[str, Any]) -> str | bytes:
    kind = part.get("type")
    if kind in ("image_url", "input_image"):
        return _image(kind, part.get("image_url"))
    if not isinstance(kind, str) or kind not in _TEXT_FIELDS:
        raise InvalidRequest(f"content of type {kind!r} is not supported: send text or images")
    text = part.get(_TEXT_FIELDS[kind])
    if not isinstance(text, str):
        raise InvalidRequest(f"a content part of type {kind!r} must have its text as a string")
    return text


def _image(kind: str, shown: object) -> bytes:
    """`image_url` is an object with `url` in chats, the address itself in responses. `detail` changes nothing here."""
    return from_url(shown.get("url") if isinstance(shown, Mapping) else shown, f"the image_url of an {kind} part")
