"""Reads whole answers with a parser, for tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from puna.chat import Tool, ToolCall
from puna.chat.answers import AnswerFormat, Piece, Text, Thought
from tests.chat.answers.families import TOOLS


@dataclass
class Read:
    """An answer, put together again."""

    text: str = ""
    thought: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    order: str = ""  # t, k (thought), c; repeats left out

    def add(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            match piece:
                case Text(text):
                    assert text
                    self.text += text
                    kind = "t"
                case Thought(text):
                    assert text
                    self.thought += text
                    kind = "k"
                case ToolCall():
                    self.calls.append(piece)
                    kind = "c"
            self.order += "" if kind != "c" and self.order.endswith(kind) else kind

    @property
    def plain(self) -> tuple[str, str, list[tuple[str, object]], str]:
        """All of it but the calls' ids."""
        return self.text, self.thought, [(call.name, dict(call.arguments)) for call in self.calls], self.order


def read(answers: AnswerFormat, parts: Iterable[str], *, prompt: str = "", tools: Sequence[Tool] = TOOLS) -> Read:
    """What is in an answer that comes in these parts."""
    parser, whole = answers.parser(prompt, tools=tools), Read()
    for part in parts:
        whole.add(parser.push(part))
    whole.add(parser.finish())
    return whole
