"""Template text to tokens. Knows what words look like, not what they mean together.

Source: Go's text/template documentation and its lexical rules (trim markers need a space, a field follows its
operand without one).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from puna.errors import TemplateError

Kind: TypeAlias = Literal[
    "text", "open", "close", "keyword", "name", "bool", "nil", "field", "variable", "dot", "number", "complex", "char",
    "string", "raw", "(", ")", "|", "=", ":=", ",", "symbol", "end of text",
]  # fmt: skip

KEYWORDS = frozenset({"block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"})

_SPACE = " \t\r\n"
_OPEN = re.compile(r"\{\{(?:-(?=[ \t\r\n]))?")
_CLOSE = re.compile(r"(?:[ \t\r\n]-)?\}\}")
_COMMENT = re.compile(r"[ \t\r\n]?/\*")
_SPACES = re.compile(r"[ \t\r\n]+")
_NUMBER_PART = (
    r"[+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?"
    r"|0[oO][0-7_]*(?:\.[0-7_]*)?|0[bB][01_]*(?:\.[01_]*)?"
    r"|[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?"
)
_NUMBER = re.compile(_NUMBER_PART)
_WORD = re.compile(r"\w+")
_TOKENS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("string", re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')),
    ("raw", re.compile(r"`[^`]*`")),
    ("char", re.compile(r"'(?:[^'\\\n]|\\[^\n])*'")),
    ("variable", re.compile(r"\$\w*")),
    ("field", re.compile(r"\.(?!\d)\w+")),
    ("dot", re.compile(r"\.(?!\d)")),
    (":=", re.compile(r":=")),
    ("=", re.compile(r"=")),
    ("|", re.compile(r"\|")),
    ("(", re.compile(r"\(")),
    (")", re.compile(r"\)")),
    (",", re.compile(r",")),
)
_UNFINISHED = {'"': "quoted string", "`": "raw quoted string", "'": "character constant"}
_TERMINATED = frozenset({"field", "variable", "dot", "name"})  # kinds after which only some characters may stand
_TERMINATOR = re.compile(r"[ \t\r\n.,|:)(]|\}\}|$")


@dataclass(frozen=True, slots=True)
class Token:
    """A word of the template. `spaced`: there is white space before it, inside an action."""

    kind: Kind
    text: str
    line: int
    spaced: bool = False

    def __str__(self) -> str:
        return self.kind if self.kind in ("end of text", "close") else repr(self.text[:40])


def tokens(source: str) -> Iterator[Token]:
    """The tokens, the last of them `end of text`. Raises TemplateError, with the line, as it gets there."""
    return _Lexer(source).tokens()


class _Lexer:
    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self._line = 1

    def tokens(self) -> Iterator[Token]:
        while self._at < len(self._source):
            opening = _OPEN.search(self._source, self._at)
            end = opening.start() if opening else len(self._source)
            text = self._source[self._at : end]
            trimmed = text.rstrip(_SPACE) if opening and opening[0] == "{{-" else text
            if trimmed:
                yield Token("text", trimmed, self._line)
            self._move(end)
            if opening:
                yield from self._action(opening[0])
        yield Token("end of text", "", self._line)

    def _action(self, opening: str) -> Iterator[Token]:
        started = self._line
        self._move(self._at + len(opening))
        comment = _COMMENT.match(self._source, self._at) if opening == "{{-" else None
        if comment or self._source.startswith("/*", self._at):
            self._comment(started)
            return
        yield Token("open", opening, started)
        yield from self._inside(started)

    def _comment(self, started: int) -> None:
        end = self._source.find("*/", self._source.index("/*", self._at) + 2)
        if end < 0:
            raise error(started, "unclosed comment")
        close = _CLOSE.match(self._source, end + 2)
        if close is None:
            raise error(started, "comment ends before closing delimiter")
        self._close(close)

    def _inside(self, started: int) -> Iterator[Token]:
        depth = 0
        spaced = False
        while True:
            close = _CLOSE.match(self._source, self._at)
            if close:
                if depth:
                    raise error(self._line, "unclosed left paren")
                line = self._line
                self._close(close)
                yield Token("close", "}}", line, spaced)
                return
            space = _SPACES.match(self._source, self._at)
            if space:
                trims = self._source.startswith("-}}", space.end())  # then its last character belongs to the mark
                self._move(space.end() - trims)
                spaced = True
                continue
            token = self._token(started, spaced)
            depth += (token.kind == "(") - (token.kind == ")")
            if depth < 0:
                raise error(self._line, "unexpected right paren")
            spaced = False
            yield token

    def _token(self, started: int, spaced: bool) -> Token:
        if self._at >= len(self._source):
            raise error(started, "unclosed action")
        char, line = self._source[self._at], self._line
        kind, found = self._match(char)
        if kind in _TERMINATED and not _TERMINATOR.match(self._source, self._at + len(found)):
            bad = self._source[self._at + len(found)]
            raise error(line, f"unexpected {bad!r} after {found[:40]!r}")
        self._move(self._at + len(found))
        if kind == "name" and found in KEYWORDS:
            kind = "keyword"
        elif kind == "name" and found in ("true", "false"):
            kind = "bool"
        elif kind == "name" and found == "nil":
            kind = "nil"
        return Token(kind, found, line, spaced)

    def _match(self, char: str) -> tuple[Kind, str]:
        for kind, pattern in _TOKENS:
            if found := pattern.match(self._source, self._at):
                return kind, found[0]
        if char in _UNFINISHED:
            raise error(self._line, f"unterminated {_UNFINISHED[char]}")
        if char in "+-." or char in "0123456789":
            return self._number()
        if word := _WORD.match(self._source, self._at):
            return "name", word[0]
        if char == ":":
            raise error(self._line, "expected :=")
        if char.isascii() and char.isprintable():
            return "symbol", char
        raise error(self._line, f"unrecognized character in action: {char!r}")

    def _number(self) -> tuple[Kind, str]:
        """A number's text, not yet whether it is one; `1+2i` is one number."""
        first = _NUMBER.match(self._source, self._at)
        assert first is not None  # the pattern matches the empty text
        found, kind = first[0], "number"
        if self._source[first.end() : first.end() + 1] in ("+", "-"):
            second = _NUMBER.match(self._source, first.end())
            found, kind = found + (second[0] if second else ""), "complex"
        after = self._source[self._at + len(found) : self._at + len(found) + 1]
        if _WORD.match(after) or (kind == "complex" and not found.endswith("i")) or not found:
            raise error(self._line, f"bad number syntax: {(found + after)[:40]!r}")
        return ("complex" if kind == "complex" else "number"), found

    def _close(self, close: re.Match[str]) -> None:
        end = close.end()
        if len(close[0]) > 2:
            while end < len(self._source) and self._source[end] in _SPACE:
                end += 1
        self._move(end)

    def _move(self, to: int) -> None:
        self._line += self._source.count("\n", self._at, to)
        self._at = to


def error(line: int, message: str) -> TemplateError:
    """What is wrong with the template, and where."""
    return TemplateError(f"Go template, line {line}: {message}")
