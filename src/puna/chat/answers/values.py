"""Values as models write them: JSON, nearly JSON, Python literals, function calls with named arguments.

Everything that comes out can be written as JSON again: no NaN, no infinity, no half surrogate pairs.
Knows nothing of tools or formats.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import NoReturn

from puna.chat.answers.source import MAX_DEPTH, NotACall

_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_ESCAPE = re.compile(r"\\(U00[01][0-9a-fA-F]{5}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)", re.DOTALL)
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
BARE_KEY = re.compile(r"[^\W\d][\w.-]*")
_TOKEN = re.compile(
    rf"""\s*(?:(?P<number>{_NUMBER}(?![\w.]))|(?P<word>{BARE_KEY.pattern})|(?P<punctuation>[][{{}}(),:=])"""
    r"""|(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'))""",
    re.DOTALL,
)


def parse_value(text: str, *, lenient: bool = True) -> object:
    """JSON, or, where `lenient`, what a model writes in its stead. Raises NotACall."""
    try:
        return sound(json.loads(text, strict=False, parse_constant=_no_constant))
    except (ValueError, RecursionError) as error:
        if not lenient:
            raise NotACall("not JSON") from error
        reader = _Reader(text)
        value = reader.value()
        reader.end()
        return sound(value)


def parse_calls(text: str) -> list[tuple[str, dict[str, object]]]:
    """`[f(a=1), g(b="x")]` as names and arguments, as Python writes calls. Raises NotACall."""
    reader = _Reader(text)
    calls = reader.calls()
    reader.end()
    for _, arguments in calls:
        sound(arguments)
    return calls


def sound(value: object) -> object:
    """The value. Raises NotACall if it cannot be written as JSON in UTF-8."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise NotACall("not a JSON value") from error
    return value


def _no_constant(name: str) -> NoReturn:
    raise NotACall(f"{name} is not JSON")


class _Reader:
    """Recursive descent over tokens."""

    def __init__(self, text: str) -> None:
        self._text = text.strip()
        self._at = 0
        self._depth = 0

    def end(self) -> None:
        if self._at < len(self._text):
            raise NotACall("more than a value")

    def value(self) -> object:
        kind, token = self._next()
        match kind:
            case "number":
                return _number(token)
            case "string":
                return _string(token)
            case "word" if token in _WORDS:
                return _WORDS[token]
        if token == "{":
            return dict(self._pairs("}", ":"))
        if token in ("[", "("):
            return self._items("]" if token == "[" else ")")
        raise NotACall(f"{token!r} is not a value")

    def calls(self) -> list[tuple[str, dict[str, object]]]:
        self._expect("[")
        found = []
        while not self._follows("]"):
            kind, name = self._next()
            if kind != "word":
                raise NotACall("no function's name")
            self._expect("(")
            found.append((name, dict(self._pairs(")", "="))))
            self._separator("]")
        return found

    def _items(self, close: str) -> list[object]:
        self._enter()
        items = []
        while not self._follows(close):
            items.append(self.value())
            self._separator(close)
        self._depth -= 1
        return items

    def _pairs(self, close: str, between: str) -> list[tuple[str, object]]:
        self._enter()
        pairs = []
        while not self._follows(close):
            kind, token = self._next()
            if kind not in ("word", "string"):
                raise NotACall("no key")
            self._expect(between)
            pairs.append((_string(token) if kind == "string" else token, self.value()))
            self._separator(close)
        self._depth -= 1
        return pairs

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotACall("too many brackets")

    def _separator(self, close: str) -> None:
        """A comma, which may be missing (or be too much) before the end."""
        if not self._follows(",") and not self._ahead(close):
            raise NotACall("no comma")

    def _ahead(self, token: str) -> bool:
        at, found = self._at, self._next()[1]
        self._at = at
        return found == token

    def _follows(self, token: str) -> bool:
        at = self._at
        if self._next()[1] == token:
            return True
        self._at = at
        return False

    def _expect(self, token: str) -> None:
        if not self._follows(token):
            raise NotACall(f"no {token}")

    def _next(self) -> tuple[str, str]:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup is None:
            raise NotACall("not a value")
        self._at = match.end()
        return match.lastgroup, match[match.lastgroup]


def _number(text: str) -> int | float:
    try:
        number = int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError as error:  # more digits than Python converts
        raise NotACall("not a number") from error
    if not math.isfinite(number):
        raise NotACall("not a number")
    return number


def _string(token: str) -> str:
    def escape(match: re.Match[str]) -> str:
        code = match[1]
        if len(code) > 1:
            return chr(min(int(code[1:], 16), sys.maxunicode))
        return _ESCAPES.get(code, code)

    text = _ESCAPE.sub(escape, token[1:-1])
    try:  # a surrogate pair that was written as two escapes is one character
        return text.encode("utf-16", "surrogatepass").decode("utf-16") if "\\u" in token else text
    except UnicodeDecodeError as error:
        raise NotACall("half a surrogate pair") from error
