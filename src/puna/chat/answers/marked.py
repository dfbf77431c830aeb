"""Answers that are text with marks in it: thoughts between two marks, tool calls behind others.

Thoughts and calls may come in turns; a thought's mark counts only where no text came before it, so that an answer may
speak of the marks. White space next to a mark belongs to the mark.
"""

from __future__ import annotations

from collections.abc import Callable

from puna.chat.answers.pieces import Piece, Text, Thought
from puna.chat.answers.source import NotACall, Source, Steps, held_back, pattern_of
from puna.chat.answers.syntax import CallSyntax
from puna.chat.answers.thoughts import Thoughts
from puna.chat.answers.toolbox import Toolbox

_MAX_BLANKS = 64  # characters of white space that are held back because a mark may follow


class Marked:
    """Reads one such answer from `source` and hands its pieces to `emit`."""

    def __init__(
        self,
        source: Source,
        emit: Callable[[Piece], None],
        *,
        thoughts: Thoughts | None,
        syntax: CallSyntax | None,
        tools: Toolbox,
    ) -> None:
        self._source = source
        self._emit = emit
        self._thoughts = thoughts
        self._syntax = syntax if len(tools) else None
        self._tools = tools

    def read(self, thinking: bool) -> Steps[None]:
        """Read the answer to its end; `thinking`: the prompt ends inside a thought."""
        if thinking and self._thoughts is not None:
            yield from self._thought(self._thoughts.close)
        marked = thinking
        while (yield from self._marked(marked)):
            marked = True
        while (yield from self._text()):
            while (yield from self._marked(True)):
                pass

    def _marked(self, after_mark: bool) -> Steps[bool]:
        """Read a thought or calls, if that is what comes; else the white space (text, unless a mark was before it)."""
        source, thoughts, syntax = self._source, self._thoughts, self._syntax
        opening = (thoughts.open, *thoughts.frame[:1]) if thoughts else ()
        calling = (*syntax.first, *syntax.openings) if syntax else ()
        source.begin()
        if opening or calling or after_mark:
            yield from source.space()
        mark = yield from source.ahead(*opening, *calling)
        if mark in calling:
            return (yield from self._calls())
        if thoughts and mark:
            source.take(len(mark))
            if mark == thoughts.open:
                yield from self._thought(thoughts.close)
            return True
        if not after_mark:
            self._emit_text(source.since_begin())
        return False

    def _calls(self) -> Steps[bool]:
        """Read calls, if that is what comes; else what was read is text."""
        try:
            calls = (yield from self._syntax.read(self._source, self._tools)) if self._syntax else []
        except NotACall:
            self._emit_text(self._source.since_begin())
            return False
        for call in calls:
            self._emit(call)
        return True

    def _thought(self, close: str) -> Steps[None]:
        source = self._source
        source.thinking = True
        source.begin()
        yield from source.space()
        if (yield from self._stream((close,), Thought)):
            source.take(len(close))
        source.thinking = False

    def _text(self) -> Steps[bool]:
        """Read text up to a call; whether there was one. False at the answer's end, too."""
        source = self._source
        frame_ends = self._thoughts.frame[1:] if self._thoughts else ()
        marks = (*frame_ends, *(self._syntax.openings if self._syntax else ()))
        while (yield from self._stream(marks, Text)):
            if (yield from source.accept(*frame_ends)):
                source.begin()
            elif (yield from self._calls()):
                return True
        return False

    def _stream(self, marks: tuple[str, ...], piece: type[Text] | type[Thought]) -> Steps[bool]:
        """Hand out text up to the first of the marks, which comes next then; whether there is one."""
        source = self._source
        pattern = pattern_of(marks) if marks else None
        longest = max(map(len, marks), default=0)
        while True:
            source.begin()
            found = source.find(pattern) if pattern else None
            size = found[0] if found else source.unread
            if not found and not source.ended and marks:
                size -= held_back(source.tail(longest), marks)
            blanks = _blanks(source.peek(size)) if found or (marks and not source.ended) else 0
            if size > blanks:
                self._emit(piece(source.take(size - blanks)))
            source.begin()
            if found:
                source.take(blanks)
                return True
            if source.ended:
                return False
            yield

    def _emit_text(self, text: str) -> None:
        if text:
            self._emit(Text(text))


def _blanks(text: str) -> int:
    """How many characters of white space end the text, of those that are held back."""
    end = text[-_MAX_BLANKS:]
    return len(end) - len(end.rstrip())
