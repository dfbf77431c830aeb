"""Messages of a conversation, and their one conversion to the dicts that chat templates read.

Knows nothing of any API's spelling (the server translates) nor of any template's text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model asked for. `arguments` is the parsed JSON object; `id` ties the result to the call."""

    id: str | None
    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. `parameters` is the JSON schema of its arguments.

    `strict`: they are held to it even where the model may call or not (calls that are required always are).
    """

    name: str
    description: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    strict: bool = False

    def to_dict(self) -> dict[str, object]:
        """As templates and OpenAI's API write it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools are called: as the model likes, never, always, or always the one called `name`."""

    kind: Literal["auto", "none", "required"] = "auto"
    name: str | None = None  # with `required`: no other


AUTO = ToolChoice()


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture in a message: a file's bytes, and how many characters of the content come before it."""

    data: bytes = field(repr=False)
    at: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. `role` is `system`, `user`, `assistant` or `tool` (or any other that the template knows).

    `thinking` is an assistant's reasoning, kept apart from its answer. A `tool` message answers the call
    `tool_call_id` of the function `tool_name`.
    """

    role: str
    content: str
    thinking: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_name: str | None = None
    images: tuple[ImageFile, ...] = ()


Think: TypeAlias = bool | Literal["low", "medium", "high", "max"]  # whether to think before answering, or how much


@dataclass(frozen=True, slots=True)
class MessageShape:
    """Where templates disagree on a message's dict; `ChatTemplate` finds its template's shape by probing.

    `json_arguments`: a call's arguments are JSON text, not a dict (DeepSeek R1).
    `null_content`: an assistant that only calls tools has content None, not "" (DeepSeek R1).
    `named_ids`: what a call calls is read from its id, `functions.name:0` (Kimi K2); the calls are counted.
    `content_parts`: content is a list of `{"type": "text", "text": ...}` (some multimodal templates).
    """

    json_arguments: bool = False
    null_content: bool = False
    content_parts: bool = False
    named_ids: bool = False


def to_dicts(messages: Sequence[Message], shape: MessageShape = MessageShape()) -> list[dict[str, object]]:
    """The conversation as templates read it."""
    return [to_dict(message, shape) for message in (_with_named_ids(messages) if shape.named_ids else messages)]


def _with_named_ids(messages: Sequence[Message]) -> Iterator[Message]:
    """Calls with ids that name what they call, and results with their calls' ids: where none is given, in order."""
    count = 0
    open_calls: dict[str | None, str] = {}  # new ids by those that the calls had, or by their places
    for message in messages:
        calls = []
        for call in message.tool_calls:
            calls.append(replace(call, id=f"functions.{call.name}:{count}"))
            open_calls[call.id or f"#{count}"] = str(calls[-1].id)
            count += 1
        if message.role == "tool" and open_calls:
            key = message.tool_call_id if message.tool_call_id in open_calls else next(iter(open_calls))
            message = replace(message, tool_call_id=open_calls.pop(key))  # noqa: PLW2901
        yield replace(message, tool_calls=tuple(calls))


def to_dict(message: Message, shape: MessageShape = MessageShape()) -> dict[str, object]:
    """The message as templates read it. Absent fields are absent keys, since templates test `'tool_calls' in message`.

    Source: transformers' "chat templating" guide (`tool_calls[].function`, `reasoning_content`); `thinking` is the
    name gpt-oss's template reads, `tool_call_id` and `name` are OpenAI's.
    """
    result: dict[str, object] = {"role": message.role, "content": _content(message, shape)}
    if message.thinking is not None:
        result["reasoning_content"] = message.thinking
        result["thinking"] = message.thinking
    if message.tool_calls:
        result["tool_calls"] = [_call_dict(call, shape) for call in message.tool_calls]
    if message.tool_call_id is not None:
        result["tool_call_id"] = message.tool_call_id
    if message.tool_name is not None:
        result["name"] = message.tool_name
    return result


def _content(message: Message, shape: MessageShape) -> object:
    if shape.null_content and message.tool_calls and not message.content:
        return None
    if shape.content_parts:
        return [{"type": "text", "text": message.content}]
    return message.content


def _call_dict(call: ToolCall, shape: MessageShape) -> dict[str, object]:
    arguments: object = dict(call.arguments)
    if shape.json_arguments:
        arguments = json.dumps(arguments, ensure_ascii=False)
    result: dict[str, object] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    if call.id is not None:
        result["id"] = call.id
    return result
