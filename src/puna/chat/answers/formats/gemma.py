"""FunctionGemma and Gemma 4: calls in a notation of their own, strings between marks.

Source: Google's "FunctionGemma formatting and best practices", Gemma 4's chat template.
`<start_function_call>call:name{key:<escape>text<escape>,n:1}<end_function_call>`;
`<|tool_call>call:name{key:<|"|>text<|"|>,n:1}<tool_call|>`. Keys are bare and sorted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from puna.chat.answers.arguments import bare_key
from puna.chat.answers.json_calls import parameters_of
from puna.chat.answers.lark import Lark
from puna.chat.answers.source import NotACall, Source, Steps
from puna.chat.answers.toolbox import Toolbox, new_id
from puna.chat.answers.values import parse_value
from puna.chat.messages import Tool, ToolCall

_MAX_DEPTH = 8  # of a schema that a grammar follows; deeper, anything may come
_SCALARS = {"integer", "number", "boolean", "null"}


@dataclass(frozen=True)
class GemmaCalls:
    """One generation's marks: around a call, and around a string."""

    open: str
    close: str
    quote: str

    first: tuple[str, ...] = ()
    text_mark: str = ""

    @cached_property
    def openings(self) -> tuple[str, ...]:
        return (self.open,)

    @cached_property
    def tokens(self) -> frozenset[str]:
        return frozenset({self.open, self.close, self.quote})

    def new_id(self) -> str:
        """An id for a call."""
        return new_id()

    def read(self, source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
        """One call, to its closing mark."""
        yield from source.expect(self.open)
        yield from source.space()
        yield from source.expect("call:")
        name = yield from tools.name(source)
        text, _ = yield from source.until(self.close)
        return [tools.call(name, self._arguments(text))]

    def _arguments(self, text: str) -> object:
        """Every second piece between quotes is a string."""
        pieces = text.split(self.quote)
        if len(pieces) % 2 == 0:
            raise NotACall("a string that does not end")
        strings = (json.dumps(piece, ensure_ascii=False) if index % 2 else piece for index, piece in enumerate(pieces))
        return parse_value("".join(strings))

    def calls(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """One or more calls, one after another."""
        one = lark.rule(f"{lark.text(self.open)} {self.opened(lark, tools, parallel)}")
        return f"{one}+" if parallel else one

    def opened(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:  # noqa: ARG002 (each call has its mark)
        """What comes after the opening mark."""
        calls = [f"{lark.text(f'call:{tool.name}')} {self._object(lark, parameters_of(tool), 0)}" for tool in tools]
        return f"{lark.one_of(calls)} {lark.text(self.close)}"

    def _object(self, lark: Lark, schema: Mapping[str, object], depth: int) -> str:
        properties, required = schema.get("properties"), schema.get("required")
        pairs = [
            (
                f"{lark.text(bare_key(key) + ':')} {self._value(lark, value, depth + 1)}",
                isinstance(required, list) and key in required,
            )
            for key, value in (sorted(properties.items()) if isinstance(properties, Mapping) else ())
        ]
        return lark.rule(f"{lark.text('{')} {lark.listed(pairs, ',')} {lark.text('}')}")

    def _value(self, lark: Lark, schema: object, depth: int) -> str:
        known = schema if isinstance(schema, Mapping) and depth < _MAX_DEPTH else {}
        words, kind = known.get("enum"), known.get("type")
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            return lark.one_of([lark.text(f"{self.quote}{word}{self.quote}") for word in words])
        match kind:
            case "string":
                return self._string(lark)
            case "integer" | "number" | "boolean" | "null":
                return lark.json(known)
            case "array":
                item = self._value(lark, known.get("items"), depth + 1)
                return f"({lark.text('[')} ({item} ({lark.text(',')} {item})*)? {lark.text(']')})"
            case "object" if known.get("properties"):
                return self._object(lark, known, depth)
        return self._anything(lark)

    def _string(self, lark: Lark) -> str:
        return f"{lark.text(self.quote)} {lark.until(self.quote)}"

    def _anything(self, lark: Lark) -> str:
        """A rule for any value, which refers to itself."""
        scalar, string = lark.json({"type": sorted(_SCALARS)}), self._string(lark)
        name = lark.name()
        items = f'({name} ("," {name})*)?'
        pair = f'/[A-Za-z_][A-Za-z0-9_]*/ ":" {name}'
        pairs = f'({pair} ("," {pair})*)?'
        lark.define(name, f'{scalar} | {string} | "[" {items} "]" | "{{" {pairs} "}}"')
        return name


FUNCTION_GEMMA = GemmaCalls("<start_function_call>", "<end_function_call>", "<escape>")
GEMMA4 = GemmaCalls("<|tool_call>", "<tool_call|>", '<|"|>')
SYNTAXES = (FUNCTION_GEMMA, GEMMA4)
