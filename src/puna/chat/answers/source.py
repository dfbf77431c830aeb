"""The unread end of an answer, for parsers that are written as if all of it were there.

A parser is a generator: where the text does not suffice it yields, and goes on when more has come. All of these
read each character a bounded number of times, whatever the text and however it is cut.
Knows nothing of formats.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]

MAX_CALL = 1 << 20  # characters that a call may have
MAX_DEPTH = 64  # of brackets in a call

_SPACE = re.compile(r"\s*")
_BRACKETS = {"{": "}", "[": "]", "(": ")"}
# Outside of strings a value has brackets, quotes, words, numbers and what separates them.
_NOTABLE = re.compile(r"[^\w\s,:=.+-]")


class NotACall(Exception):
    """What began like a tool call is not one: it is text."""


class Source:
    """Text that was pushed and not read yet. What is read since `begin` can be had back as text."""

    __slots__ = ("_at", "_read", "_size", "_text", "ended", "thinking")

    def __init__(self) -> None:
        self.ended = False  # no more will be pushed
        self.thinking = False  # what is being read is a thought
        self._text = ""
        self._at = 0
        self._read: list[str] = []
        self._size = 0

    def push(self, text: str) -> None:
        """The next piece of the answer."""
        self._text = self._text[self._at :] + text
        self._at = 0

    @property
    def unread(self) -> int:
        """How many characters are left."""
        return len(self._text) - self._at

    def begin(self) -> None:
        """Forget what was read; from here on it is kept for `since_begin`."""
        self._read.clear()
        self._size = 0

    def since_begin(self) -> str:
        """The text read since `begin`."""
        return "".join(self._read)

    @property
    def held(self) -> int:
        """How many characters were pushed and are neither read nor, since `begin`, forgotten."""
        return self.unread + self._size

    def take(self, count: int) -> str:
        """Read the next `count` characters, or all there are."""
        taken = self._text[self._at : self._at + count]
        self._at += len(taken)
        self._size += len(taken)
        self._read.append(taken)
        return taken

    def find(self, pattern: re.Pattern[str]) -> tuple[int, str] | None:
        """How far ahead the pattern is first found, and what it matches."""
        found = pattern.search(self._text, self._at)
        return (found.start() - self._at, found[0]) if found else None

    def peek(self, count: int) -> str:
        """At most the next `count` characters that are there, without reading them."""
        return self._text[self._at : self._at + count]

    def tail(self, count: int) -> str:
        """At most the last `count` characters that are there, without reading them."""
        return self._text[max(self._at, len(self._text) - count) :]

    def more(self) -> Steps[None]:
        """Wait for more text. Raises NotACall when none will come, or there is too much for a call already."""
        if self.ended:
            raise NotACall("the answer ended")
        if self._size > MAX_CALL:
            raise NotACall("too long")
        yield

    def space(self) -> Steps[str]:
        """Read all white space."""
        return (yield from self.word(_SPACE))

    def ahead(self, *marks: str) -> Steps[str]:
        """Which of the marks comes next (of two that do, the longer), without reading it; "" if none does."""
        longest = max(map(len, marks), default=0)
        while True:
            text = self.peek(longest)
            undecided = any(len(mark) > len(text) and mark.startswith(text) for mark in marks)
            if self.ended or not undecided:
                return max((mark for mark in marks if text.startswith(mark)), key=len, default="")
            yield

    def accept(self, *marks: str) -> Steps[str]:
        """Read whichever of the marks comes next; "" if none does."""
        mark = yield from self.ahead(*marks)
        return self.take(len(mark))

    def expect(self, *marks: str) -> Steps[str]:
        """Read one of the marks, which must come next."""
        mark = yield from self.accept(*marks)
        if not mark:
            raise NotACall(f"no {marks[0]}")
        return mark

    def word(self, pattern: re.Pattern[str]) -> Steps[str]:
        """Read the characters that the pattern (a class, repeated) matches; may be none."""
        parts = []
        while True:
            match = pattern.match(self._text, self._at)
            parts.append(self.take(match.end() - self._at if match else 0))
            if self.unread or self.ended:
                return "".join(parts)
            yield

    def until(self, *marks: str) -> Steps[tuple[str, str]]:
        """Read to the first of the marks and past it; what was before it, and which it was."""
        pattern = pattern_of(marks)
        parts = []
        while True:
            found = self.find(pattern)
            if found:
                parts.append(self.take(found[0]))
                return "".join(parts), self.take(len(found[1]))
            parts.append(self.take(self.unread - held_back(self.tail(max(map(len, marks))), marks)))
            yield from self.more()

    def value(self, begun: str = "") -> Steps[str]:
        """Read a bracketed value, as JSON or Python write it, to its last bracket; `begun` of it is read already.

        Models forget last brackets: where the text goes on with what no value has (a tag), they are put there.
        """
        scan = _Scan()
        scan.feed(begun, 0)
        parts = [begun]
        while True:
            scan.feed(self._text, self._at)
            parts.append(self.take(scan.at - self._at))
            if scan.error:
                raise NotACall(scan.error)
            if scan.ended:
                return "".join(parts) + scan.missing
            yield from self.more()


def held_back(text: str, marks: Sequence[str]) -> int:
    """How many of the last characters of `text` may be the beginning of one of the marks."""
    for start in range(max(0, len(text) - max(map(len, marks), default=0) + 1), len(text)):
        if any(len(mark) > len(text) - start and mark.startswith(text[start:]) for mark in marks):
            return len(text) - start
    return 0


def pattern_of(marks: Sequence[str]) -> re.Pattern[str]:
    """Finds the first of the marks; of two that begin together, the longer."""
    return re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)))


class _Scan:
    """Finds the end of a bracketed value that comes in pieces."""

    __slots__ = ("_closers", "_quote", "at", "ended", "error")

    def __init__(self) -> None:
        self.at = 0  # read up to here
        self.ended = False
        self.error = ""
        self._closers: list[str] = []  # of the brackets that are open, the innermost last
        self._quote = ""  # of the string that is open; with a backslash: the next character is escaped

    @property
    def missing(self) -> str:
        """The brackets that were not closed."""
        return "".join(reversed(self._closers))

    def feed(self, text: str, at: int) -> None:
        """Read `text` from `at` to the value's end, to what is wrong with it, or to its own end."""
        self.at = at
        while self.at < len(text) and not self.ended and not self.error:
            if self._quote:
                self._string(text)
            else:
                self._outside(text)

    def _string(self, text: str) -> None:
        if len(self._quote) > 1:
            self._quote = self._quote[0]
            self.at += 1
            return
        found = _STRING_ENDS[self._quote].search(text, self.at)
        self.at = found.end() if found else len(text)
        if found:
            self._quote = self._quote + "\\" if found[0] == "\\" else ""

    def _outside(self, text: str) -> None:
        found = _NOTABLE.search(text, self.at)
        if not self._closers and (found is None or found.start() > self.at or found[0] not in _BRACKETS):
            self.error = "no value"
        elif found is None:
            self.at = len(text)
        elif found[0] in _BRACKETS and len(self._closers) == MAX_DEPTH:
            self.error = "too many brackets"
        elif found[0] in "}])" and found[0] != self._closers[-1]:
            self.at = found.start()
            self.error = "brackets that do not match"
        else:
            self._take(found[0], found.start())

    def _take(self, char: str, at: int) -> None:
        self.at = at + 1
        if char in _BRACKETS:
            self._closers.append(_BRACKETS[char])
        elif char == self._closers[-1]:
            self._closers.pop()
            self.ended = not self._closers
        elif char in _STRING_ENDS:
            self._quote = char
        else:  # a character of what comes after the value
            self.at = at
            self.ended = True


_STRING_ENDS = {'"': re.compile(r'["\\]'), "'": re.compile(r"['\\]")}
