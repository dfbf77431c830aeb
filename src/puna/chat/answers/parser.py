"""An answer's text, as it comes, told apart into thoughts, text and tool calls."""

from __future__ import annotations

from collections.abc import Callable

from puna.chat.answers.pieces import Piece, Text, Thought
from puna.chat.answers.source import Source, Steps


class AnswerParser:
    """Takes an answer in pieces of any length; how it is cut never changes what comes out, put together.

    Every character comes out as text or as thought, or is part of a call; only marks and the white space next to them
    are left out. What begins like a call and is none, or never ends, or names a tool that is not on offer, is text.
    """

    def __init__(self, read: Callable[[Source, Callable[[Piece], None]], Steps[None]]) -> None:
        """Made by `AnswerFormat.parser`."""
        self._source = Source()
        self._pushed = 0
        self._pieces: list[Piece] = []
        self._steps = read(self._source, self._pieces.append)

    @property
    def held(self) -> int:
        """How many of the characters pushed are held back: what is to become of them is open."""
        return min(self._source.held, self._pushed)  # the prompt may have given the reader a mark before

    @property
    def thinking(self) -> bool:
        """Whether a thought is open."""
        return self._source.thinking

    def push(self, text: str) -> list[Piece]:
        """What is certain with this text. A tool call comes whole, and only of a tool on offer."""
        self._source.push(text)
        self._pushed += len(text)
        return self._run() if text else []

    def finish(self) -> list[Piece]:
        """What was held back, once no more will come."""
        self._source.ended = True
        return self._run()

    def _run(self) -> list[Piece]:
        next(self._steps, None)
        joined: list[Piece] = []
        for piece in self._pieces:
            match joined[-1:], piece:
                case [Text(before)], Text(text):
                    joined[-1] = Text(before + text)
                case [Thought(before)], Thought(text):
                    joined[-1] = Thought(before + text)
                case _:
                    joined.append(piece)
        self._pieces.clear()
        return joined
