"""A call's arguments: checked, and, where the format writes them as bare text, of the types the tool's schema names.

Knows JSON schemas as far as types go; nothing of formats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from puna.chat.answers.source import NotACall
from puna.chat.answers.values import BARE_KEY, parse_value, sound
from puna.errors import InvalidRequest

_BOOLEANS = {"true": True, "false": False}
_MAX_STEPS = 32  # references and alternatives followed in one schema


def as_object(value: object) -> dict[str, object]:
    """Arguments as an object: models also write them as JSON in a string, or not at all. Raises NotACall."""
    if isinstance(value, str):
        value = parse_value(value) if value.strip() else {}
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise NotACall("the arguments are not an object")
    return {str(key): item for key, item in value.items()}


def typed(text: str, name: str, parameters: Mapping[str, object]) -> object:
    """The argument `name`, written as `text`, as what the tool's `parameters` say it is.

    Text that is not of that type stays text, for the tool to refuse. An argument that the schema does not know, or
    gives no type, is what it looks like: JSON, else text.
    """
    sound(text)
    types = property_types(name, parameters)
    stripped = text.strip()
    if "null" in types and stripped in ("null", "None"):
        return None
    if types and types <= {"string", "null"}:
        return text
    try:
        value = (
            _BOOLEANS[stripped.lower()] if stripped.lower() in _BOOLEANS else parse_value(stripped, lenient=bool(types))
        )
    except NotACall:
        return text
    return value if not types or _type_of(value) & types else text


def bare_key(key: str) -> str:
    """The key, which a grammar is to write without quotes. Raises InvalidRequest if it could not be read back."""
    if not BARE_KEY.fullmatch(key):
        raise InvalidRequest(f"this model cannot be held to calls with an argument named {key!r}: rename it")
    return key


def property_schema(name: str, parameters: Mapping[str, object]) -> Mapping[str, object]:
    """The schema of the property `name`; {} where there is none."""
    properties = parameters.get("properties")
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def property_types(name: str, parameters: Mapping[str, object]) -> set[str]:
    """The JSON types that the property `name` may have; none where the schema does not say."""
    return set(_types(property_schema(name, parameters), parameters))


def _type_of(value: object) -> set[str]:
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number", "integer"} if value.is_integer() else {"number"}
        case str():
            return {"string"}
        case list():
            return {"array"}
    return {"object"}


def _types(schema: Mapping[str, object], root: Mapping[str, object]) -> Iterator[str]:
    """The JSON types a schema allows; none where it does not say."""
    waiting: list[object] = [schema]
    for _ in range(_MAX_STEPS):
        if not waiting:
            return
        part = waiting.pop()
        if not isinstance(part, Mapping):
            continue
        yield from (name for name in _listed(part.get("type")) if isinstance(name, str))
        for value in [*_listed(part.get("enum")), *([part["const"]] if "const" in part else [])]:
            yield from _type_of(value)
        for key in ("anyOf", "oneOf", "allOf"):
            waiting.extend(_listed(part.get(key)))
        if "$ref" in part:
            waiting.append(_referred(str(part["$ref"]), root))


def _listed(value: object) -> list[object]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _referred(reference: str, root: Mapping[str, object]) -> object:
    """What `#/$defs/Name` stands for; None if nothing."""
    found: object = root
    for key in reference.removeprefix("#/").split("/"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
