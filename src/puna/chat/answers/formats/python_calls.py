"""Calls written as a Python list: `[f(a=1), g(b="x")]`. LFM2 puts it between marks.

Source: Llama 3.2's and 4's prompt formats, LFM2's chat template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from puna.chat.answers.arguments import bare_key, property_schema
from puna.chat.answers.json_calls import parameters_of
from puna.chat.answers.lark import Lark
from puna.chat.answers.source import NotACall, Source, Steps
from puna.chat.answers.toolbox import Toolbox, new_id
from puna.chat.answers.values import parse_calls
from puna.chat.messages import Tool, ToolCall


@dataclass(frozen=True)
class PythonCalls:
    """A list of calls between two marks."""

    open: str
    close: str

    first: tuple[str, ...] = ()
    text_mark: str = ""

    @cached_property
    def openings(self) -> tuple[str, ...]:
        return (self.open,)

    @cached_property
    def tokens(self) -> frozenset[str]:
        return frozenset({self.open, self.close})

    def new_id(self) -> str:
        """An id for a call."""
        return new_id()

    def read(self, source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
        """The list after the mark."""
        yield from source.expect(self.open)
        yield from source.space()
        begun = yield from source.expect("[")
        begun += yield from source.space()
        calls = yield from read_list(source, tools, begun)
        yield from source.space()
        yield from source.accept(self.close)
        return calls

    def calls(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """One or more calls in one list."""
        return f"{lark.text(self.open)} {self.opened(lark, tools, parallel)}"

    def opened(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """The list and what ends it."""
        return f"{python_list(lark, tools, parallel)} {lark.text(self.close)}"


def read_list(source: Source, tools: Toolbox, begun: str) -> Steps[list[ToolCall]]:
    """The rest of a list of calls, of which `begun` is read. Fails at once on a list of anything else."""
    begun += yield from tools.name(source)
    begun += yield from source.expect("(")
    calls = parse_calls((yield from source.value(begun)))
    if not calls:
        raise NotACall("no calls")
    return [tools.call(name, arguments) for name, arguments in calls]


def python_list(lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
    """The list as a grammar."""
    one = lark.rule(lark.one_of([_call(lark, tool) for tool in tools]))
    more = f" ({lark.text(', ')} {one})*" if parallel else ""
    return f"{lark.text('[')} {one}{more} {lark.text(']')}"


def _call(lark: Lark, tool: Tool) -> str:
    parameters = parameters_of(tool)
    properties, named = parameters.get("properties"), parameters.get("required")
    arguments = [
        (_argument(lark, key, parameters), isinstance(named, list) and key in named)
        for key in (properties if isinstance(properties, Mapping) else ())
    ]
    return lark.rule(f"{lark.text(tool.name + '(')} {lark.listed(arguments, ', ')} {lark.text(')')}")


def _argument(lark: Lark, key: str, parameters: Mapping[str, object]) -> str:
    shared = {name: parameters[name] for name in ("$defs", "definitions") if name in parameters}
    # JSON's literals: Python's true, false and null are understood in both spellings.
    return lark.rule(f"{lark.text(bare_key(key) + '=')} {lark.json({**property_schema(key, parameters), **shared})}")


LFM2 = PythonCalls("<|tool_call_start|>", "<|tool_call_end|>")
SYNTAXES = (LFM2,)
