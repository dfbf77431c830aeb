"""Messages and tools, as APIs write them, become the Go values that Ollama hands to templates."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence

from puna.chat.gotemplate import types
from puna.chat.gotemplate.text import given
from puna.chat.gotemplate.values import ANY_SLICE, STRING_SLICE, Map, Slice, Struct, of_json
from puna.errors import InvalidRequest

Json = Mapping[str, object]


def tools_value(tools: Sequence[Json] | None) -> Slice:
    """`.Tools`: functions as OpenAI's API describes them. What Ollama's types do not hold of a schema is left out."""
    return Slice(types.TOOLS, None if tools is None else [_tool(tool) for tool in tools])


def _tool(tool: Json) -> Struct:
    function = _mapping(tool.get("function"))
    parameters = _mapping(function.get("parameters"))
    properties = parameters.get("properties")
    values = (
        _text(parameters.get("type")),
        of_json(parameters.get("$defs")),
        of_json(parameters.get("items")),
        Slice(STRING_SLICE, _strings(parameters.get("required"))),
        Map(types.PROPERTIES, _properties(properties) if isinstance(properties, Mapping) else None),
    )
    described = (_text(function.get("name")), _text(function.get("description")), Struct(types.PARAMETERS, values))
    return Struct(types.TOOL, (_text(tool.get("type")), of_json(tool.get("items")), Struct(types.FUNCTION, described)))


def messages_value(messages: Sequence[Json]) -> Slice:
    """`.Messages`."""
    return Slice(types.MESSAGES, [_message(message) for message in messages])


def _message(message: Json) -> Struct:
    calls = message.get("tool_calls")
    images = message.get("images")
    values = (
        _text(message.get("role")),
        _text(message.get("content")),
        _text(message.get("thinking") or message.get("reasoning_content")),
        Slice(types.IMAGES, [_image(image) for image in images] if isinstance(images, (list, tuple)) else None),
        Slice(
            types.CALLS,
            [_call(call, at) for at, call in enumerate(calls)] if isinstance(calls, (list, tuple)) else None,
        ),
        _text(message.get("tool_name") or message.get("name")),
        _text(message.get("tool_call_id")),
    )
    return Struct(types.MESSAGE, values, pointer=True)


def _call(call: object, position: int) -> Struct:
    fields = _mapping(call)
    function = _mapping(fields.get("function"))
    index = function.get("index", position)
    arguments = function.get("arguments")
    if isinstance(arguments, str):  # as OpenAI's API writes them
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise InvalidRequest(f"the arguments of a tool call are not JSON: {error}") from error
    values = (
        index if isinstance(index, int) else position,
        _text(function.get("name")),
        Map(types.ARGUMENTS, {given(str(key)): of_json(value) for key, value in _mapping(arguments).items()}),
    )
    return Struct(types.CALL, (_text(fields.get("id")), Struct(types.CALL_FUNCTION, values)))


def _image(image: object) -> Slice:
    try:
        return Slice(types.IMAGE, image if isinstance(image, bytes) else base64.b64decode(str(image), validate=True))
    except binascii.Error as error:
        raise InvalidRequest(f"an image is not base64: {error}") from error


def _text(value: object) -> str:
    return given(value) if isinstance(value, str) else ""


def _strings(value: object) -> list[object] | None:
    return [_text(each) for each in value] if isinstance(value, (list, tuple)) else None


def _mapping(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _property(schema: object) -> Struct:
    fields = schema if isinstance(schema, Mapping) else {}
    kinds = fields.get("type")
    any_of, inner = fields.get("anyOf"), fields.get("properties")
    return Struct(
        types.PROPERTY,
        (
            Slice(types.PROPERTY_SLICE, [_property(each) for each in any_of] if isinstance(any_of, list) else None),
            Slice(types.KINDS, [kinds] if isinstance(kinds, str) else _strings(kinds)),
            of_json(fields.get("items")),
            _text(fields.get("description")),
            of_json(list(enum)) if isinstance(enum := fields.get("enum"), (list, tuple)) else Slice(ANY_SLICE, None),
            _inner_properties(inner) if isinstance(inner, Mapping) else None,
            Slice(STRING_SLICE, _strings(fields.get("required"))),
        ),
    )


def _inner_properties(schemas: Json) -> Struct:
    return Struct(types.INNER_PROPERTIES, (Map(types.INNER, _properties(schemas)),), pointer=True)


def _properties(schemas: Json) -> dict[str, object]:
    return {given(str(name)): _property(schema) for name, schema in schemas.items()}
