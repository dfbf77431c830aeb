"""Calls written as a name, a mark and JSON arguments: `OPEN name MARK {...} CLOSE`.

Knows the shape; `formats` knows whose marks are whose.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from puna.chat.answers.json_calls import parameters_of
from puna.chat.answers.lark import Lark
from puna.chat.answers.source import Source, Steps
from puna.chat.answers.toolbox import Toolbox, new_id
from puna.chat.answers.values import parse_value
from puna.chat.messages import Tool, ToolCall

_ID = re.compile(r"\w*")


@dataclass(frozen=True)
class NamedCalls:
    """One family's marks.

    section      begins a run of calls, `section_end` ends it; "" where there is none
    open         begins each call; "" where the section's mark does
    between      comes after the name
    skipped      may come after the name, with an id of the model's own; ours take its place
    numbered     comes after the name, before a number that counts the calls
    close        ends each call
    prefix       stands before the name (DeepSeek R1's `function<mark>`)
    separator    between calls
    """

    open: str
    between: str
    close: str = ""
    section: str = ""
    section_end: str = ""
    prefix: str = ""
    skipped: str = ""
    numbered: str = ""
    separator: str = ""
    make_id: Callable[[], str] = new_id
    marks: frozenset[str] = frozenset()

    first: tuple[str, ...] = ()
    text_mark: str = ""

    @cached_property
    def openings(self) -> tuple[str, ...]:
        return tuple(mark for mark in (self.section, self.open) if mark)

    @property
    def tokens(self) -> frozenset[str]:
        return self.marks

    def new_id(self) -> str:
        """An id for a call."""
        return self.make_id()

    def read(self, source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
        """The calls of a section, or a call that stands alone; none where text comes."""
        if self.text_mark and (yield from source.accept(self.open + self.text_mark)):
            return []
        in_section = bool(self.section and (yield from source.accept(self.section)))
        calls = [(yield from self._call(source, tools))]
        while in_section:
            yield from source.space()
            if (yield from source.ahead(self.open)) != self.open:
                yield from source.accept(self.section_end)
                break
            calls.append((yield from self._call(source, tools)))
        return calls

    def _call(self, source: Source, tools: Toolbox) -> Steps[ToolCall]:
        yield from source.space()
        yield from source.expect(self.open)
        if self.prefix:
            yield from source.accept(self.prefix)
        yield from source.space()
        name = yield from tools.name(source)
        if (self.skipped or self.numbered) and (yield from source.accept(self.skipped or self.numbered)):
            yield from source.word(_ID)
        yield from source.space()
        for part in self.between.split():
            yield from source.expect(part)
            yield from source.space()
        call = tools.call(name, parse_value((yield from source.value())))
        for part in self.close.split():
            yield from source.space()
            yield from source.accept(part)
        return call

    def calls(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """One or more calls, as these models were taught to write them."""
        if self.section:
            return f"{lark.text(self.section)} {self.opened(lark, tools, parallel)}"
        one = lark.rule(f"{lark.text(self.open)} {self.opened(lark, tools, parallel)}")
        return f"{one} ({lark.text(self.separator)} {one})*" if parallel else one

    def opened(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """What comes after the mark of the section, or of a call where there are no sections."""
        between = f"{lark.text(self.numbered)} /[0-9]{{1,3}}/ {lark.text(self.between)}" if self.numbered else ""
        between = between or lark.text(self.between)
        names = [f"{lark.text(self.prefix + tool.name)} {between} {lark.json(parameters_of(tool))}" for tool in tools]
        rest = f"{lark.one_of(names)} {lark.text(self.close)}"
        if not self.section:
            return rest
        one = lark.rule(f"{lark.text(self.open)} {rest}")
        many = f"{one} ({lark.text(self.separator)} {one})*" if parallel else one
        return f"{many} {lark.text(self.section_end)}"
