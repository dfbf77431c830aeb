"""What every way of writing tool calls can do: read them from an answer, and describe them in a grammar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from puna.chat.answers.lark import Lark
from puna.chat.answers.source import Source, Steps
from puna.chat.answers.toolbox import Toolbox, new_id
from puna.chat.messages import Tool, ToolCall


class CallSyntax(Protocol):
    """One family's tool calls."""

    @property
    def openings(self) -> tuple[str, ...]:
        """The marks that begin calls, wherever they are."""

    @property
    def first(self) -> tuple[str, ...]:
        """What begins calls where only thoughts and calls came before: text that elsewhere is nothing special."""

    @property
    def text_mark(self) -> str:
        """What comes after an opening mark before text that is no call; "" where only calls have marks."""

    @property
    def tokens(self) -> frozenset[str]:
        """The marks that are control tokens in these models' vocabularies."""

    def read(self, source: Source, tools: Toolbox) -> Steps[list[ToolCall]]:
        """Read what begins with one of the marks. Raises NotACall where it is not calls of these tools."""

    def calls(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str:
        """What a grammar calls one or more calls of these tools (just one where not `parallel`), marks and all."""

    def opened(self, lark: Lark, tools: Sequence[Tool], parallel: bool) -> str | None:
        """What may come after the first of `openings`; None where calls have no opening mark to begin with."""

    def new_id(self) -> str:
        """An id for a call, as these models' templates want it."""
        return new_id()
