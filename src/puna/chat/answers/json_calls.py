"""Calls written as JSON between marks: `OPEN {"name": ..., "arguments": {...}} CLOSE`, or a list of such objects.

Knows the shape; `formats` knows whose marks and keys are whose.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from puna.chat.answers.lark import Lark
from puna.chat.answers.source import NotACall, Source, Steps
from puna.chat.answers.toolbox import Toolbox, new_id
from puna.chat.answers.values import parse_value
from puna.chat.messages import Tool, ToolCall

_NAMES = ("name", "tool_name")
_ARGUMENTS = ("arguments", "parameters")

# Keywords by which a schema allows, or says elsewhere, what properties there are.
_MAY_NAME_MORE = frozenset(
    {"additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf", "if"}
)


@dataclass(frozen=True)
class JsonCalls:
    """One family's marks and keys.

    open, close  the marks; close is "" where the end of the answer is the only one. Text, if white space belongs to it
    opened_by    further marks that the same models begin calls with
    name, arguments  the keys as the models were taught to write them; others' are understood too
    number       the key, before the name, of a number that counts the calls; "" for none
    many         the JSON is a list of calls; else each call has marks of its own
    before, after  white space that the models write around each object
    """

    open: str
    close: str = ""
    opened_by: tuple[str, ...] = ()
    name: str = "name"
    arguments: str = "arguments"
    number: str = ""
    many: bool = False
    before: str = ""
    after: str = ""
    make_id: Callable[[], str] = new_id

    first: tuple[str, ...] = ()
    text_mark: str = ""

    @cached_property
    def openings(self) -> tuple[str, ...]:
        return (self.open, *self.opened_by)

    @cached_property
    def tokens(self) -> frozenset[str]:
        return frozenset(mark for mark in (*self.openings, self.close) if mark)

    def new_id(self) -> str:
        """An id for a call."""
        return self.make_id()

    def _object(self, lark: Lark, tool: Tool) -> str:
        return json_call(lark, tool, self.name, self.arguments, self.number)

    def read(self, source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
        """The JSON after the mark. A close mark that is missing, or a stray bracket before it, is forgiven."""
        yield from source.expect(*self.openings)
        yield from source.space()
        calls = calls_of(parse_value((yield from source.value())), tools)
        yield from source.space()
        if self.close:
            yield from source.accept(self.close, "}" + self.close, "}\n" + self.close)
        return calls

    def calls(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """One or more calls, as these models were taught to write them."""
        one = lark.rule(f"{lark.text(self.open)} {self.opened(lark, tools, parallel)}")
        return f"{one} ({lark.text(chr(10))} {one})*" if parallel and not self.many else one

    def opened(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """What comes after the opening mark."""
        objects = lark.rule(lark.one_of([self._object(lark, tool) for tool in tools]))
        if not self.many:
            return f"{lark.text(self.before)} {objects} {lark.text(self.after + self.close)}"
        more = f" ({lark.text(',' + (self.before or ' '))} {objects})*" if parallel else ""
        return f"{lark.text('[' + self.before)} {objects}{more} {lark.text(self.after + ']' + self.close)}"


def json_call(lark: Lark, tool: Tool, name: str = "name", arguments: str = "arguments", number: str = "") -> str:
    """One call as a JSON object, with the tool's schema for its arguments. With no `name`, the tool's is the key."""
    quoted = json.dumps(tool.name, ensure_ascii=False)
    count = [lark.text(f'"{number}": "'), "/[0-9]{1,2}/", lark.text('", ')] if number else []
    begin = lark.text(f'"{name}": {quoted}, "{arguments}": ' if name else f"{quoted}: ")
    return lark.rule(" ".join([lark.text("{"), *count, begin, lark.json(parameters_of(tool)), lark.text("}")]))


def parameters_of(tool: Tool) -> Mapping[str, object]:
    """The schema of the arguments: an object whatever else it says, and of those that it names unless it says more."""
    schema = {"type": "object", **(tool.parameters or {"properties": {}})}
    named = "properties" in schema and schema.keys().isdisjoint(_MAY_NAME_MORE)
    return {**schema, "additionalProperties": False} if named else schema


def calls_of(value: object, tools: Toolbox) -> list[ToolCall]:
    """The calls in one parsed object or in a list of them. Raises NotACall."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise NotACall("no calls")
    return [_call_of(item, tools) for item in items]


def _call_of(item: object, tools: Toolbox) -> ToolCall:
    if not isinstance(item, Mapping):
        raise NotACall("not an object")
    inner = item.get("function")
    if isinstance(inner, Mapping):  # as OpenAI's API writes calls: some models copy it
        item = inner
    elif isinstance(inner, str):
        item = {"name": inner, **item}
    elif len(item) == 1 and isinstance((only := next(iter(item.items())))[1], Mapping):  # Apertus: {name: arguments}
        return tools.call(*only)
    name = next((item[key] for key in _NAMES if key in item), None)
    return tools.call(name, next((item[key] for key in _ARGUMENTS if key in item), None))
