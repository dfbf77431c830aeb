"""What an answer is made of, as a parser hands it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from puna.chat.messages import ToolCall


@dataclass(frozen=True, slots=True)
class Text:
    """The next piece of the answer proper; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """The next piece of the reasoning; never empty."""

    text: str


Piece: TypeAlias = Text | Thought | ToolCall


class Body(Protocol):
    """What an answer's text is to be held to; `puna.engine.Grammar` is one, of the kinds named here."""

    @property
    def kind(self) -> str:
        """What `source` is written in: json_schema, regex or lark."""

    @property
    def source(self) -> str:
        """The schema as JSON text, the regular expression, or the grammar."""
