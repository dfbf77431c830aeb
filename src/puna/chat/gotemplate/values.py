"""Go's values, as far as templates meet them.

bool, int (and Byte), float, complex and str stand for themselves; `text` tells about str. None is a nil in an
interface, as JSON's null is; NO_VALUE is no value at all, what a nil becomes at the end of a pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from puna.chat.gotemplate import text


class Byte(int):
    """A uint8: one byte of a string."""

    __slots__ = ()


class _NoValue:
    __slots__ = ()

    def __repr__(self) -> str:
        return "<no value>"


NO_VALUE: Final = _NoValue()


@dataclass(frozen=True, slots=True)
class Attribute:
    """A field of a struct. `key` is its name in JSON; `omitted` tells for which values it is left out there."""

    name: str
    key: str
    omitted: Callable[[object], bool] = lambda _value: False


@dataclass(frozen=True, slots=True, eq=False)
class Type:
    """A type that is not one of the basic ones.

    attributes  of a struct
    methods  without arguments; `String` is how its values print
    zero  of a map, what a missing key has
    ordered  of a map: its keys keep the order they came in
    encoded  its value for JSON, where that is not its own
    """

    name: str
    attributes: tuple[Attribute, ...] = ()
    methods: Mapping[str, Callable[[Any], object]] = field(default_factory=dict)
    zero: object = None
    ordered: bool = False
    encoded: Callable[[Any], object] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """A slice; `items` is None for a nil one."""

    type: Type
    items: Sequence[object] | None


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """A map with strings for keys; `items` is None for a nil one."""

    type: Type
    items: Mapping[str, object] | None

    def entries(self) -> Iterable[tuple[str, object]]:
        """Keys and values in the order of the keys' bytes, as Go prints, ranges and encodes them."""
        items = self.items or {}
        return items.items() if self.type.ordered else ((key, items[key]) for key in sorted(items, key=text.to_bytes))


@dataclass(frozen=True, slots=True, eq=False)
class Struct:
    """A struct, or a pointer to one. `values` are in the order of its type's attributes."""

    type: Type
    values: tuple[object, ...]
    pointer: bool = False

    def get(self, name: str) -> object:
        """The attribute's value; KeyError where there is none."""
        for attribute, value in zip(self.type.attributes, self.values, strict=True):
            if attribute.name == name:
                return value
        raise KeyError(name)


Composite: TypeAlias = Slice | Map | Struct

ANY_SLICE = Type("[]interface {}")
ANY_MAP = Type("map[string]interface {}")
STRING_SLICE = Type("[]string")

_EXACT = 1 << 53


def of_json(value: object) -> object:
    """JSON data as Go decodes it into an `any`: numbers are floats.

    An integer that a float would change stays what it is.
    """
    if isinstance(value, str):
        return text.given(value)
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return float(value) if abs(value) <= _EXACT else value
    if isinstance(value, float):
        return value
    if isinstance(value, Mapping):
        return Map(ANY_MAP, {text.given(str(key)): of_json(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return Slice(ANY_SLICE, [of_json(item) for item in value])
    raise TypeError(f"a template takes JSON data, not a {type(value).__name__}")


def weight(value: object) -> int:
    """About how many bytes the value takes when it is printed."""
    if isinstance(value, str):
        return 16 + len(value)
    if isinstance(value, Map):
        return 16 + sum(len(key) + weight(item) for key, item in (value.items or {}).items())
    if isinstance(value, Struct):
        return 16 + sum(map(weight, value.values))
    if isinstance(value, Slice):
        return 16 + sum(map(weight, value.items or ()))
    return 16


def truth(value: object) -> bool:
    """Whether `if` takes it for true: whatever is neither zero, nil nor empty; every struct."""
    if isinstance(value, (Slice, Map)):
        return bool(value.items)
    if isinstance(value, Struct):
        return True
    return value is not NO_VALUE and bool(value)


def kind(value: object) -> str:
    """The kind that comparisons go by: bool, int, float, complex, string, slice, map, struct, ptr or invalid (nil)."""
    for name, types in _KINDS:
        if isinstance(value, types):
            return "ptr" if isinstance(value, Struct) and value.pointer else name
    return "invalid"


BASIC = frozenset({"bool", "int", "float", "complex", "string"})

_KINDS: tuple[tuple[str, type], ...] = (
    ("bool", bool),
    ("int", int),
    ("string", str),
    ("float", float),
    ("slice", Slice),
    ("map", Map),
    ("struct", Struct),
    ("complex", complex),
)


def type_name(value: object) -> str:
    """As `%T` and error messages write it."""
    if isinstance(value, (Slice, Map)):
        return value.type.name
    if isinstance(value, Struct):
        return "*" * value.pointer + value.type.name
    names = {"int": "int", "float": "float64", "complex": "complex128", "invalid": "nil"}
    return "uint8" if isinstance(value, Byte) else names.get(kind(value), kind(value))


def is_nil(value: object) -> bool:
    """Nil, or a nil slice or map."""
    return value is None or value is NO_VALUE or (isinstance(value, (Slice, Map)) and value.items is None)


def method(value: object, name: str) -> Callable[[Any], object] | None:
    """The value's method of that name."""
    return value.type.methods.get(name) if isinstance(value, (Slice, Map, Struct)) else None
