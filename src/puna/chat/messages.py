"""Messages of a conversation, and their one conversion to the dicts that chat templates read.

Knows nothing of any API's spelling (the server translates) nor of any template's text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function the model asked for. `arguments` is the parsed JSON object; `id` ties the result to the call."""

    id: str | None
    name: str
    arguments: Mapping[str, object] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class MessageShape:
    """Where templates disagree on a message's dict; `ChatTemplate` finds its template's shape by probing.

    `json_arguments`: a call's arguments are JSON text, not a dict (DeepSeek R1).
    `null_content`: an assistant that only calls tools has content None, not "" (DeepSeek R1).
    `content_parts`: content is a list of `{"type": "text", "text": ...}` (some multimodal templates).
    """

    json_arguments: bool = False
    null_content: bool = False
    content_parts: bool = False


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
