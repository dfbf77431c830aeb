"""Llama 3.1 to 4: calls without marks, as bare JSON or as a Python list, where the answer begins.

Source: Meta's prompt formats: `{"name": ..., "parameters": {...}}` (several with `; ` between), `[f(a=1)]`, and
`<|python_tag|>` before either or before `f.call(a=1)`; Llama 4 writes `<|python_start|>...<|python_end|>` around them.
JSON that does not begin like a call is an answer, and streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from puna.chat.answers.formats.python_calls import read_list
from puna.chat.answers.json_calls import calls_of, json_call
from puna.chat.answers.lark import Lark
from puna.chat.answers.source import NotACall, Source, Steps
from puna.chat.answers.toolbox import Toolbox, new_id
from puna.chat.answers.values import parse_calls, parse_value
from puna.chat.messages import Tool, ToolCall

_TAGS = ("<|python_tag|>", "<|python_start|>")
_END = "<|python_end|>"
_KEYS = ('"name"', '"type"', '"function"', '"parameters"')


@dataclass(frozen=True)
class LlamaCalls:
    """Bare JSON, Python lists, and either after a tag."""

    openings: tuple[str, ...] = _TAGS
    first: tuple[str, ...] = ("{", "[")
    text_mark: str = ""
    tokens: frozenset[str] = frozenset({*_TAGS, _END})

    def new_id(self) -> str:
        """An id for a call."""
        return new_id()

    def read(self, source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
        """One call or list of calls, and the semicolon after it."""
        tag = yield from source.accept(*_TAGS)
        yield from source.space()
        yield from source.accept(_END)
        match (yield from source.ahead("{", "[")):
            case "{":
                calls = yield from _json_call(source, tools)
            case "[":
                calls = yield from _list(source, tools)
            case _ if tag:
                calls = yield from _method_call(source, tools)
            case _:
                raise NotACall("neither an object nor a list")
        yield from source.space()
        yield from source.accept(_END, ";", ",")
        return calls

    def calls(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """One or more calls as JSON."""
        one = lark.rule(lark.one_of([json_call(lark, tool, "name", "parameters") for tool in tools]))
        return f"{one} ({lark.text('; ')} {one})*" if parallel else one

    def opened(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> None:
        """Nothing: without a mark, a call cannot be told from text before it is there."""


def _json_call(source: Source, tools: Toolbox, begun: str = "") -> Steps[list[ToolCall]]:
    begun += yield from source.expect("{")
    begun += yield from source.space()
    begun += yield from source.expect(*_KEYS)
    return calls_of(parse_value((yield from source.value(begun))), tools)


def _list(source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
    begun = yield from source.expect("[")
    begun += yield from source.space()
    if (yield from source.ahead("{")):
        return (yield from _json_call(source, tools, begun))
    return (yield from read_list(source, tools, begun))


def _method_call(source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
    name = yield from tools.name(source)
    yield from source.accept(".call")
    brackets = yield from source.value()
    ((name, arguments),) = parse_calls(f"[{name}{brackets}]")
    return [tools.call(name, arguments)]


LLAMA = LlamaCalls()
SYNTAXES = (LLAMA,)
