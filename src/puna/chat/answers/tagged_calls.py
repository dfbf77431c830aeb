"""Calls written as tags around bare text: a tag with the name, then a tag for each argument with its value inside.

The values have no quotes and no types: the tool's schema says what they are. Knows the shape; `formats` knows whose
tags are whose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from puna.chat.answers.arguments import property_schema, property_types
from puna.chat.answers.json_calls import parameters_of
from puna.chat.answers.lark import Lark
from puna.chat.answers.source import NotACall, Source, Steps
from puna.chat.answers.toolbox import Toolbox, new_id
from puna.chat.answers.values import parse_value
from puna.chat.messages import Tool, ToolCall


@dataclass(frozen=True)
class TaggedCalls:
    """One family's tags: OPEN (CALL name CALLED (KEY key VALUE value END)* FINISH)+ CLOSE, white space between.

    `line` is written where these models begin a new line: after a tag and around a value.
    `bare_call`: models forget OPEN, and begin with CALL.
    `json_value`: stands in place of `value` before a value that is JSON; then the tags say the type, not the schema.
    `control`: a token that is part of each tag.
    """

    open: str
    call: str
    called: str
    key: str
    value: str
    end: str
    finish: str
    close: str
    line: str = ""
    around_value: str = ""
    bare_call: bool = False
    json_value: str = ""
    control: str = ""

    first: tuple[str, ...] = ()
    text_mark: str = ""

    @cached_property
    def openings(self) -> tuple[str, ...]:
        return (self.open, self.call) if self.bare_call else (self.open,)

    @cached_property
    def tokens(self) -> frozenset[str]:
        if self.control:
            return frozenset({self.control})
        tags = (self.open, self.close, self.key, self.end, *self.value.split())
        return frozenset(tag for tag in tags if tag.endswith(">") and len(tag) > 1)

    def new_id(self) -> str:
        """An id for a call."""
        return new_id()

    def read(self, source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
        """The calls between OPEN and CLOSE, which may be missing where FINISH ends each call."""
        yield from source.accept(self.open)
        calls = [(yield from self._call(source, tools))]
        yield from source.space()
        while self.call and (yield from source.ahead(self.call)):
            calls.append((yield from self._call(source, tools)))
            yield from source.space()
        if not (yield from source.accept(self.close)) and not self.finish:
            raise NotACall(f"no {self.close}")
        return calls

    def _call(self, source: Source, tools: Toolbox) -> Steps[ToolCall]:
        yield from source.space()
        if self.call:
            yield from source.expect(self.call)
        name = yield from tools.name(source)
        if self.called:
            yield from source.expect(self.called)
        texts: dict[str, str] = {}
        values: dict[str, object] = {}
        while True:
            yield from source.space()
            if not (yield from source.accept(self.key)):
                break
            key, is_json = yield from self._key(source)
            text, _ = yield from source.until(self.end)
            text = text.removeprefix(self.around_value).removesuffix(self.around_value)
            texts[key], values[key] = text, parse_value(text) if is_json else text
        if self.finish:
            yield from source.expect(self.finish)
        return tools.call(name, values) if self.json_value else tools.call_untyped(name, texts)

    def _key(self, source: Source) -> Steps[tuple[str, bool]]:
        """The key and the tags up to its value; whether these say that it is JSON."""
        first, *others = self.value.split()
        of_json = self.json_value.split()[1:] or others
        key, _ = yield from source.until(first)
        is_json = False
        for tag, other in zip(others, of_json, strict=True):
            yield from source.space()
            is_json |= (yield from source.expect(tag, other)) != tag
        return key.strip(), is_json

    def calls(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """One or more calls, as these models were taught to write them."""
        one = lark.rule(f"{lark.text(self.open)} {self.opened(lark, tools, parallel)}")
        return f"{one} ({lark.text(chr(10))} {one})*" if parallel else one

    def opened(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:  # noqa: ARG002 (each call has its tag)
        """What comes after the opening tag."""
        return lark.one_of([self._one(lark, tool) for tool in tools])

    def _one(self, lark: Lark, tool: Tool) -> str:
        parameters = parameters_of(tool)
        properties, required = parameters.get("properties"), parameters.get("required")
        arguments = " ".join(
            f"({self._argument(lark, key, parameters)}){'' if key in _sequence(required) else '?'}"
            for key in (properties if isinstance(properties, Mapping) else {})
        )
        begin = lark.text(f"{self.line if self.call else ''}{self.call}{tool.name}{self.called}{self.line}")
        end = lark.text(f"{self.finish}{self.line if self.finish else ''}{self.close}")
        return lark.rule(f"{begin} {arguments} {end}")

    def _argument(self, lark: Lark, key: str, parameters: Mapping[str, object]) -> str:
        schema = property_schema(key, parameters)
        typed = bool(property_types(key, parameters) - {"string"})
        begin = lark.text(f"{self.key}{key}{self._value_tags(typed)}{self.around_value}")
        line = lark.text(self.line)
        if typed:
            shared = {name: parameters[name] for name in ("$defs", "definitions") if name in parameters}
            return f"{begin} {lark.json({**schema, **shared})} {lark.text(self.around_value + self.end)} {line}"
        words = _sequence(schema.get("enum"))
        if words and all(isinstance(word, str) for word in words):
            text = lark.one_of([lark.text(str(word) + self.around_value + self.end) for word in words])
            return f"{begin} {text} {line}"
        return f"{begin} {lark.until(self.end)} {line}"

    def _value_tags(self, typed: bool) -> str:
        """What comes between a key and its value."""
        if not self.json_value:
            return self.value.replace(" ", self.line)
        return self.json_value if typed else self.value


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()
