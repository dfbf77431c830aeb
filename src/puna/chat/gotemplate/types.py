"""The types of Ollama's API that templates see: their names, fields and methods.

Source: Ollama's api and template packages: which fields JSON leaves out, and what prints as JSON (tools, functions,
parameters, properties, arguments). Keys of properties and arguments are sorted, as Go's maps are.
"""

from __future__ import annotations

from puna.chat.gotemplate.encoding import encode
from puna.chat.gotemplate.values import ANY_SLICE, STRING_SLICE, Attribute, Slice, Struct, Type, is_nil, truth


def _empty(value: object) -> bool:
    return not truth(value)


_AS_JSON = {"String": encode}
_TYPES_IN_SCRIPT = {
    "string": "string",
    "number": "number",
    "integer": "number",
    "boolean": "boolean",
    "array": "any[]",
    "object": "Record<string, any>",
    "null": "null",
}


def _type_script(value: Struct) -> str:
    """A property's type as TypeScript writes it."""
    any_of = value.get("AnyOf")
    if isinstance(any_of, Slice) and any_of.items:
        return " | ".join(_type_script(each) for each in any_of.items if isinstance(each, Struct))
    kinds = value.get("Type")
    names = kinds.items if isinstance(kinds, Slice) else None
    return " | ".join(_TYPES_IN_SCRIPT.get(str(name), "any") for name in names or ("any",))


def _kinds_text(value: Slice) -> str:
    names = [str(name) for name in value.items or ()]
    return names[0] if len(names) == 1 else f"[{' '.join(names)}]" if names else ""


def _kinds_json(value: Slice) -> object:
    return value.items[0] if value.items and len(value.items) == 1 else Slice(STRING_SLICE, value.items or ())


KINDS = Type("api.PropertyType", methods={"String": _kinds_text}, encoded=_kinds_json)
PROPERTY = Type(
    "api.ToolProperty",
    (
        Attribute("AnyOf", "anyOf", _empty),
        Attribute("Type", "type", _empty),
        Attribute("Items", "items", is_nil),
        Attribute("Description", "description", _empty),
        Attribute("Enum", "enum", _empty),
        Attribute("Properties", "properties", is_nil),
        Attribute("Required", "required", _empty),
    ),
    {"ToTypeScriptType": _type_script},
)
PROPERTY_SLICE = Type("[]api.ToolProperty")
INNER = Type("map[string]api.ToolProperty", ordered=True)
INNER_PROPERTIES = Type(
    "api.ToolPropertiesMap",
    (Attribute("om", "om"),),
    {"Len": lambda value: len(value.values[0].items), "ToMap": lambda value: value.values[0]},
    encoded=lambda value: value.values[0],
)
NO_PROPERTY = Struct(
    PROPERTY,
    (
        Slice(PROPERTY_SLICE, None),
        Slice(KINDS, None),
        None,
        "",
        Slice(ANY_SLICE, None),
        None,
        Slice(STRING_SLICE, None),
    ),
)
PROPERTIES = Type(
    "map[string]api.ToolProperty",
    methods={"String": lambda value: "{}" if value.items is None else encode(value)},
    zero=NO_PROPERTY,
)
PARAMETERS = Type(
    "api.ToolFunctionParameters",
    (
        Attribute("Type", "type"),
        Attribute("Defs", "$defs", is_nil),
        Attribute("Items", "items", is_nil),
        Attribute("Required", "required", _empty),
        Attribute("Properties", "properties"),
    ),
    _AS_JSON,
)
FUNCTION = Type(
    "api.ToolFunction",
    (Attribute("Name", "name"), Attribute("Description", "description"), Attribute("Parameters", "parameters")),
    _AS_JSON,
)
TOOL = Type(
    "api.Tool",
    (Attribute("Type", "type"), Attribute("Items", "items", is_nil), Attribute("Function", "function")),
    _AS_JSON,
)
TOOLS = Type("api.Tools", methods=_AS_JSON)

ARGUMENTS = Type(
    "map[string]interface {}", methods={"String": lambda value: "{}" if value.items is None else encode(value)}
)
CALL_FUNCTION = Type(
    "api.ToolCallFunction",
    (Attribute("Index", "index"), Attribute("Name", "name"), Attribute("Arguments", "arguments")),
)
CALL = Type("api.ToolCall", (Attribute("ID", "id", _empty), Attribute("Function", "function")))
CALLS = Type("[]api.ToolCall")
IMAGE = Type("api.ImageData")
IMAGES = Type("[]api.ImageData")
MESSAGE = Type(
    "api.Message",
    (
        Attribute("Role", "role"),
        Attribute("Content", "content"),
        Attribute("Thinking", "thinking", _empty),
        Attribute("Images", "images", _empty),
        Attribute("ToolCalls", "tool_calls", _empty),
        Attribute("ToolName", "tool_name", _empty),
        Attribute("ToolCallID", "tool_call_id", _empty),
    ),
)
MESSAGES = Type("[]*api.Message")
