"""Conversations as plain data: message dicts in the shape that OpenAI, Ollama and transformers share, and JSON files.

The Python API, `puna render` and the terminal chat's /save and /load read and write them here. Knows nothing of
templates, models or servers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from puna.chat import Message, Tool, ToolCall
from puna.errors import InvalidRequest

MessageLike: TypeAlias = Message | Mapping[str, object]
ToolLike: TypeAlias = Tool | Mapping[str, object]

# Our field -> the keys it is read from, in order; the first one is the key it is written to.
_TEXT_KEYS: Mapping[str, tuple[str, ...]] = {
    "thinking": ("thinking", "reasoning_content", "reasoning"),
    "tool_call_id": ("tool_call_id",),
    "tool_name": ("tool_name", "name"),
}
_KEYS = {"role", "content", "tool_calls"}.union(*_TEXT_KEYS.values())


def to_messages(values: Iterable[MessageLike]) -> tuple[Message, ...]:
    """Messages from dicts. Raises InvalidRequest, naming the first message that is not one."""
    messages = []
    for index, value in enumerate(values):
        try:
            messages.append(value if isinstance(value, Message) else from_dict(value))
        except InvalidRequest as error:
            raise InvalidRequest(f"message {index}: {error}") from None
    if not messages:
        raise InvalidRequest("there are no messages")
    return tuple(messages)


def from_dict(value: Mapping[str, object]) -> Message:
    """One message from `{"role": ..., "content": ...}`. Raises InvalidRequest for a key or value it cannot honour."""
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"a message is an object with 'role' and 'content', not {value!r}")
    if unknown := sorted(map(str, value.keys() - _KEYS)):
        raise InvalidRequest(f"unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}")
    role = value.get("role")
    if not isinstance(role, str) or not role:
        raise InvalidRequest("'role' must be a text such as system, user, assistant or tool")
    calls = value.get("tool_calls") or []
    if not isinstance(calls, Sequence) or isinstance(calls, str):
        raise InvalidRequest("'tool_calls' must be a list")
    tool_calls = tuple(map(_tool_call, calls))
    texts = {field: _text(value, keys) for field, keys in _TEXT_KEYS.items()}
    return Message(
        role=role,
        content=_content(value, required=not tool_calls),
        thinking=texts["thinking"],
        tool_calls=tool_calls,
        tool_call_id=texts["tool_call_id"],
        tool_name=texts["tool_name"],
    )


def to_tools(values: Iterable[ToolLike]) -> tuple[Tool, ...]:
    """Tools from `{"type": "function", "function": {"name", "description", "parameters"}}`. Raises InvalidRequest."""
    return tuple(value if isinstance(value, Tool) else _tool(value) for value in values)


def to_dict(message: Message) -> dict[str, object]:
    """The dict that `from_dict` reads back as the same message."""
    result: dict[str, object] = {"role": message.role, "content": message.content}
    for field, keys in _TEXT_KEYS.items():
        if (text := getattr(message, field)) is not None:
            result[keys[0]] = text
    if message.tool_calls:
        result["tool_calls"] = [_call_dict(call) for call in message.tool_calls]
    return result


def check_text(text: str, what: str) -> str:
    """The text itself. Raises InvalidRequest for lone surrogates: undecodable bytes of a terminal or a command line."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{what} is not valid Unicode at character {error.start}") from None
    return text


def loads(text: str | bytes, origin: str) -> tuple[Message, ...]:
    """Messages from a JSON list. Raises InvalidRequest, naming `origin` and the place."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"{origin} is not JSON: {error}") from None
    if not isinstance(values, list):
        raise InvalidRequest(f'{origin} is not a conversation: a JSON list of {{"role": ..., "content": ...}}')
    try:
        return to_messages(values)
    except InvalidRequest as error:
        raise InvalidRequest(f"{origin}: {error}") from None


def load(path: Path) -> tuple[Message, ...]:
    """The conversation in a JSON file. Raises InvalidRequest."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"cannot read {path}: {error.strerror}") from None
    return loads(data, str(path))


def save(path: Path, messages: Iterable[Message]) -> None:
    """Write the conversation, whole or not at all. Raises InvalidRequest; a file that is no conversation is kept."""
    if path.exists():
        try:
            load(path)
        except InvalidRequest as error:
            raise InvalidRequest(f"not overwritten, for it holds something else: {error}") from None
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(dumps(messages), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InvalidRequest(f"cannot write {path}: {error.strerror}") from None


def dumps(messages: Iterable[Message]) -> str:
    """The JSON list that `loads` reads, one message a line."""
    lines = (json.dumps(to_dict(message), ensure_ascii=False) for message in messages)
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _text(value: Mapping[str, object], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        text = value.get(key)
        if text is None:
            continue
        if not isinstance(text, str):
            raise InvalidRequest(f"{key!r} must be a text, not {text!r}")
        return check_text(text, f"{key!r}")
    return None


def _content(value: Mapping[str, object], *, required: bool) -> str:
    content = value.get("content")
    if isinstance(content, str):
        return check_text(content, "'content'")
    if content is None and not required:
        return ""
    if isinstance(content, list) and all(map(_is_text_part, content)):
        return check_text("".join(part["text"] for part in content), "'content'")
    raise InvalidRequest("'content' must be a text, or a list of parts of type 'text'")


def _is_text_part(part: object) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _tool(value: object) -> Tool:
    function = value.get("function") if isinstance(value, Mapping) else None
    if not isinstance(function, Mapping):
        raise InvalidRequest("a tool is an object with 'function': {'name', 'description', 'parameters'}")
    name, description = function.get("name"), function.get("description") or ""
    parameters, strict = function.get("parameters") or {}, bool(function.get("strict"))
    if not isinstance(name, str) or not isinstance(description, str) or not isinstance(parameters, Mapping):
        raise InvalidRequest("a tool's 'name' and 'description' are texts, its 'parameters' a JSON schema")
    return Tool(name, description, parameters, strict)


def _tool_call(value: object) -> ToolCall:
    """`{"id", "function": {"name", "arguments"}}`; the arguments an object (Ollama) or its JSON text (OpenAI)."""
    function = value.get("function") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or not isinstance(function, Mapping):
        raise InvalidRequest("a tool call is an object with 'function': {'name', 'arguments'}")
    name, call_id, arguments = function.get("name"), value.get("id"), function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise InvalidRequest(f"the arguments of the tool call {name!r} are not JSON: {error}") from None
    if not isinstance(name, str) or not isinstance(arguments, Mapping) or not isinstance(call_id, str | None):
        raise InvalidRequest("a tool call's 'name' and 'id' are texts, its 'arguments' an object")
    return ToolCall(call_id, name, arguments)


def _call_dict(call: ToolCall) -> dict[str, object]:
    function = {"name": call.name, "arguments": dict(call.arguments)}
    identity = {} if call.id is None else {"id": call.id}
    return {**identity, "type": "function", "function": function}
