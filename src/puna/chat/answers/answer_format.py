"""One model's way of answering: how it marks thoughts and tool calls, and how thinking is switched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from puna.chat.answers import harmony
from puna.chat.answers.detection import is_harmony, syntax_of
from puna.chat.answers.lark import ANY, Lark
from puna.chat.answers.marked import Marked
from puna.chat.answers.parser import AnswerParser
from puna.chat.answers.pieces import Body, Piece
from puna.chat.answers.source import Source, Steps
from puna.chat.answers.syntax import CallSyntax
from puna.chat.answers.thoughts import Switches, Thoughts, switches_of, thoughts_of
from puna.chat.answers.toolbox import Toolbox, new_id
from puna.chat.messages import AUTO, Think, Tool, ToolChoice
from puna.chat.prompt_template import PromptTemplate
from puna.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How one model marks what it writes. Immutable; one serves all requests.

    supports_tools  the template shows tools to the model, and its calls can be told from text
    channels        answers come in gpt-oss's channels, and not as text with marks in it
    """

    supports_tools: bool
    syntax: CallSyntax | None
    thoughts: Thoughts | None
    switches: Switches
    channels: bool = False

    @classmethod
    def of(cls, template: PromptTemplate) -> AnswerFormat:
        """The format of the model whose template this is, by what the template writes. Never fails."""
        switches = switches_of(template)
        if is_harmony(template):
            return cls(template.supports_tools, None, None, switches, channels=True)
        syntax = syntax_of(template)
        return cls(template.supports_tools and syntax is not None, syntax, thoughts_of(template), switches)

    @property
    def supports_thinking(self) -> bool:
        """Whether the model marks its thoughts."""
        return self.channels or self.thoughts is not None

    @property
    def special_tokens(self) -> frozenset[str]:
        """The marks that a parser must see; some are control tokens, whose text is otherwise not shown."""
        if self.channels:
            return harmony.TOKENS
        syntax = self.syntax.tokens if self.syntax else frozenset()
        return syntax | (self.thoughts.tokens if self.thoughts else frozenset())

    def variables(self, think: Think | None) -> dict[str, Any]:
        """Variables for the template, so that the model thinks (or how much); {} where it has no such variable."""
        return self.switches.variables(think)

    def prefill(self, think: Think | None, prompt: str) -> str:
        """What to put after the rendered prompt (in it, for the parser and the grammar); "" in most cases.

        With `think` False it is the rest of an empty thought, where the template has no switch that keeps the model
        from thinking.
        """
        if think is not False:
            return ""
        if self.channels:
            return harmony.NO_THOUGHT
        if self.thoughts is None:
            return ""
        if self.thoughts.opened_by(prompt):
            return self.thoughts.end
        return "" if self.switches.off else self.thoughts.none

    def thought_end(self, *, tools: bool) -> str:
        """What ends a thought that has become too long; with `tools`, a call may come after it."""
        if self.channels:
            return harmony.THOUGHT_END + ("" if tools else harmony.FINAL)
        return self.thoughts.end if self.thoughts else ""

    def parser(self, prompt: str, *, tools: Sequence[Tool] = ()) -> AnswerParser:
        """For one answer to `prompt` (its prefill included). Only calls of `tools` are taken for calls.

        `tool_choice: none` is for the caller: give no tools.
        """

        def read(source: Source, emit: Callable[[Piece], None]) -> Steps[None]:
            box = Toolbox(tools, self.syntax.new_id if self.syntax else new_id)
            if self.channels:
                return harmony.Harmony(source, emit, box).read(prompt)
            source.push(self._begun(prompt))
            marked = Marked(source, emit, thoughts=self.thoughts, syntax=self.syntax, tools=box)
            return marked.read(self._thinking(prompt))

        return AnswerParser(read)

    def grammar(
        self,
        *,
        prompt: str,
        body: Body | None = None,
        tools: Sequence[Tool] = (),
        tool_choice: ToolChoice = AUTO,
        parallel: bool = True,
        thinking: bool = True,
        control_tokens: Mapping[str, int] | None = None,
    ) -> str | None:
        """A grammar in llguidance's Lark notation that the whole answer (from the end of `prompt`) is held to.

        None: nothing is to be held. That is so without a `body` where tools may but need not be called, unless one of
        them is strict and this model begins its calls with a mark: then text is free, and calls are held to the tools'
        schemas.

        body: what the text is held to. With tools that may be called (auto), the answer is calls or the body.
        parallel: False holds calls that the grammar holds to one; of others, the caller takes the first.
        thinking: whether a thought may come before it.
        control_tokens: which of `special_tokens` are control tokens in the vocabulary, and their ids: a grammar names
            these by number.

        Raises InvalidRequest: a tool is required, and the model has no way to call one, or it is not on offer.
        """
        lark = Lark(control_tokens or {})
        required = tool_choice.kind == "required"
        answer = self._answer(lark, self._begun(prompt), body, _chosen(tools, tool_choice), required, parallel)
        return lark.source(f"{self._thought(lark, prompt, thinking)} {answer}") if answer else None

    def _answer(
        self, lark: Lark, begun: str, body: Body | None, tools: Sequence[Tool], required: bool, parallel: bool
    ) -> str | None:
        """What comes after the thought, or after a mark that the prompt ends with."""
        if required:
            return self._calls(lark, begun, tools, parallel)
        offered = tools if self.supports_tools else ()
        if body is not None:
            text = f"{self._before_text(lark, begun)} {lark.body(body)}"
            return lark.one_of([*([self._calls(lark, begun, offered, parallel)] if offered else []), text])
        if any(tool.strict for tool in offered) and not begun:
            return self._free(lark, offered, parallel)
        return None

    def _before_text(self, lark: Lark, begun: str) -> str:
        if self.channels:
            return harmony.final(lark)
        return lark.text(self.syntax.text_mark) if begun and self.syntax else ""

    def _calls(self, lark: Lark, begun: str, tools: Sequence[Tool], parallel: bool) -> str:
        if self.channels:
            return harmony.calls(lark, tools)
        if self.syntax is None:
            raise InvalidRequest("this model has no way to call tools: leave out the tools, or choose another model")
        opened = self.syntax.opened(lark, tools, parallel) if begun else None
        if opened is None:
            return self.syntax.calls(lark, tools, parallel)
        return f"{opened} ({lark.text(begun)} {opened})*" if parallel else opened

    def _free(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str | None:
        """Any text, in which a call's mark is followed by a call."""
        if self.channels:
            return lark.one_of([harmony.calls(lark, tools), f"{harmony.final(lark)} {ANY}"])
        opened = self.syntax.opened(lark, tools, parallel) if self.syntax else None
        if self.syntax is None or opened is None:
            return None
        return f"({lark.until(self.syntax.openings[0])} {opened}){'*' if parallel else '?'} {ANY}"

    def _thought(self, lark: Lark, prompt: str, thinking: bool) -> str:
        """What may or must come before the answer proper."""
        if self.channels:
            return f"({harmony.thought(lark)})?" if thinking else ""
        if self.thoughts is None:
            return ""
        rest = f"{lark.until(self.thoughts.close)} /[ \\n]{{0,4}}/"
        if self._thinking(prompt):
            return rest
        return f"({lark.text(self.thoughts.open)} {rest})?" if thinking else ""

    def _begun(self, prompt: str) -> str:
        """The mark of calls that the prompt ends with, if it does: the answer goes on after it."""
        marks = self.syntax.openings[:1] if self.syntax else ()
        return next((mark for mark in marks if prompt.endswith(mark)), "")

    def _thinking(self, prompt: str) -> bool:
        """Whether the prompt ends inside a thought."""
        return self.thoughts is not None and self.thoughts.opened_by(prompt)


def _chosen(tools: Sequence[Tool], choice: ToolChoice) -> Sequence[Tool]:
    """Those that may be called."""
    if choice.kind == "none":
        return ()
    chosen = [tool for tool in tools if choice.name in (None, tool.name)]
    if choice.kind == "required" and not chosen:
        wanted = f"the tool {choice.name!r}" if choice.name else "a tool"
        raise InvalidRequest(f"{wanted} must be called, and is not among the tools on offer")
    return chosen
