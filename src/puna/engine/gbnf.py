"""llama.cpp's grammars (GBNF) in the Lark notation that llguidance reads.

Source: llama.cpp's grammars/README. There a grammar is one over characters; llguidance has a lexer, which is quick and
greedy, before its parser, which is neither. So what is next to each other and does not refer back to its own rule
becomes one terminal. Rules that may be empty (white space, mostly) do not: they would swallow what comes after
them. A grammar that refers to itself nowhere is one terminal, and means exactly the same; in others a
terminal that can swallow what must come after it does so, and the answer does not end.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TypeAlias

from puna.errors import InvalidRequest

MAX_DEPTH = 64  # of parentheses
MAX_RULES = 1000  # llguidance follows references by recursion

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_RULE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)[ \t]*::=")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_REPEAT = re.compile(r"[*+?]|\{ *(?P<low>[0-9]{1,6}) *(?P<comma>,)? *(?P<high>[0-9]{1,6})? *\}")
_TOKEN = re.compile(r"<\[[0-9]{1,9}\]>|<[^<>\s]+>")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-", "^": "^"}


@dataclass(frozen=True, slots=True)
class _Text:
    """A text, a class of characters or a token, as Lark writes it."""

    lark: str
    empty: bool = False
    token: bool = False  # which is no text


@dataclass(frozen=True, slots=True)
class _Use:
    """A reference to a rule."""

    name: str


@dataclass(frozen=True, slots=True)
class _Repeat:
    """A node and how often it comes: `*`, `{2,3}`."""

    node: _Node
    times: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """Sequences of nodes, one of which comes."""

    sequences: tuple[tuple[_Node, ...], ...]


_Node: TypeAlias = _Text | _Use | _Repeat | _Choice
_Rules: TypeAlias = dict[str, _Choice]


def to_lark(source: str) -> str:
    """The same grammar in Lark. Raises InvalidRequest with the line of what is wrong."""
    rules = _Reader(source).rules()
    if "root" not in rules:
        raise InvalidRequest("the grammar is not valid: it has no rule called root")
    for name, rule in rules.items():
        if unknown := sorted(_uses(rule) - rules.keys()):
            raise InvalidRequest(f"the grammar is not valid: the rule {name} refers to {unknown[0]!r}, which is none")
    return _Writer(rules).lark()


class _Writer:
    """Writes rules as Lark."""

    def __init__(self, rules: _Rules) -> None:
        self._rules = rules
        self._numbers = {name: index for index, name in enumerate(rules)}
        self._plain = _plain(rules)  # rules that one terminal can hold ...
        self._solid = _solid(rules, self._plain)  # ... and that are nowhere empty
        self._terminals: list[str] = []

    def lark(self) -> str:
        if "root" in self._plain:
            lines = [f"start: {self._terminal((_Use('root'),))}"]
        else:
            lines = [f"start: r{self._numbers['root']}"]
            lines += [f"r{self._numbers[name]}: {self._parsed(rule)}" for name, rule in self._rules.items()]
        lines += [f"R{self._numbers[name]}: {self._lexed(self._rules[name])}" for name in self._plain]
        return "\n".join(["%llguidance {}", *lines, *self._terminals])

    def _parsed(self, node: _Node) -> str:
        """For a rule: what is next to each other and can be one terminal is one."""
        match node:
            case _Text(lark):
                return lark
            case _Use(name):
                return f"r{self._numbers[name]}"
            case _Repeat(inner, times):
                return f"{self._parsed(inner)} {times}"
            case _Choice(sequences):
                return f"({' | '.join(map(self._parsed_sequence, sequences))})"

    def _parsed_sequence(self, nodes: tuple[_Node, ...]) -> str:
        written, run = [], list[_Node]()
        for node in (*nodes, None):
            if node is not None and _lexable(node) and _uses(node) <= self._solid:
                run.append(node)
                continue
            if run:
                written.append(self._terminal(tuple(run)))
                run = []
            if node is not None:
                written.append(self._parsed(node))
        return " ".join(written) or '""'

    def _terminal(self, nodes: tuple[_Node, ...]) -> str:
        if len(nodes) == 1 and isinstance(nodes[0], _Text):
            return nodes[0].lark
        name = f"T{len(self._terminals)}"
        self._terminals.append(f"{name}: {' '.join(map(self._lexed, nodes))}")
        return name

    def _lexed(self, node: _Node) -> str:
        """For a terminal."""
        match node:
            case _Text(lark):
                return lark
            case _Use(name):
                return f"R{self._numbers[name]}"
            case _Repeat(inner, times):
                return f"{self._lexed(inner)} {times}"
            case _Choice(sequences):
                return f"({' | '.join(' '.join(map(self._lexed, nodes)) or _NOTHING for nodes in sequences)})"


_NOTHING = '""'


def _uses(node: _Node) -> set[str]:
    """The rules it refers to."""
    match node:
        case _Text():
            return set()
        case _Use(name):
            return {name}
        case _Repeat(inner):
            return _uses(inner)
        case _Choice(sequences):
            return {name for nodes in sequences for node in nodes for name in _uses(node)}


def _plain(rules: _Rules) -> list[str]:
    """The rules that come back to themselves by no way and have no tokens, each after those it refers to."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    missing: dict[str, int] = {}  # how many of the rules that it refers to are not found yet
    for name, rule in rules.items():
        missing[name] = len(_uses(rule)) if _lexable(rule) else -1
        for used in _uses(rule):
            users[used].append(name)
    found = [name for name, count in missing.items() if count == 0]
    for name in found:  # it grows
        for user in users[name]:
            missing[user] -= 1
            if missing[user] == 0:
                found.append(user)
    return found


def _solid(rules: _Rules, plain: list[str]) -> set[str]:
    """Those of the plain rules that cannot be empty, nor can any rule that they refer to."""
    empty: set[str] = set()
    solid: set[str] = set()
    for name in plain:
        if _empty(rules[name], empty):
            empty.add(name)
        elif _uses(rules[name]) <= solid:
            solid.add(name)
    return solid


def _lexable(node: _Node) -> bool:
    """Whether it has no tokens."""
    match node:
        case _Text(token=token):
            return not token
        case _Use():
            return True
        case _Repeat(inner):
            return _lexable(inner)
        case _Choice(sequences):
            return all(_lexable(node) for nodes in sequences for node in nodes)


def _empty(node: _Node, rules: set[str]) -> bool:
    """Whether it may be nothing, as these rules may."""
    match node:
        case _Text(empty=empty):
            return empty
        case _Use(name):
            return name in rules
        case _Repeat(inner, times):
            return times[0] in "*?" or times.startswith("{0") or _empty(inner, rules)
        case _Choice(sequences):
            return any(all(_empty(node, rules) for node in nodes) for nodes in sequences)


class _Reader:
    """Reads a grammar from its beginning to its end."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0

    def rules(self) -> _Rules:
        """All rules by name; of two with one name the second counts, as in llama.cpp."""
        rules: _Rules = {}
        self._take(_BLANK)
        while self._next:
            head = self._take(_RULE)
            if not head:
                raise self._error("a rule is expected, as in `name ::= ...`")
            rules[head["name"]] = self._choice(0)
            if len(rules) > MAX_RULES:
                raise self._error(f"more than {MAX_RULES} rules")
        return rules

    def _choice(self, depth: int) -> _Choice:
        """Up to the next rule, the closing parenthesis, or the end."""
        if depth > MAX_DEPTH:
            raise self._error(f"parentheses more than {MAX_DEPTH} deep")
        sequences: list[list[_Node]] = [[]]
        self._take(_BLANK)
        while self._next not in ("", ")") and not _RULE.match(self._source, self._at):
            if self._next == "|":
                self._at += 1
                sequences.append([])
            else:
                sequences[-1].append(self._element(depth))
            self._take(_BLANK)
        if depth and not self._expect(")"):
            raise self._error("a parenthesis is not closed")
        return _Choice(tuple(map(tuple, sequences)))

    def _element(self, depth: int) -> _Node:
        """One text, class, reference, token or group, and how often it comes."""
        node: _Node
        match self._next:
            case '"':
                text = "".join(self._characters('"'))
                node = _Text(json.dumps(text, ensure_ascii=False), empty=not text)
            case "[":
                node = self._class()
            case ".":
                self._at += 1
                node = _Text("/(?s:.)/")
            case "(":
                self._at += 1
                node = self._choice(depth + 1)
            case "<":
                node = self._token()
            case other:
                name = self._take(_NAME)
                if not name:
                    raise self._error(f"{other!r} is not expected here")
                node = _Use(name[0])
        self._take(_BLANK)
        while repeat := self._take(_REPEAT):
            node = _Repeat(node if not isinstance(node, _Repeat) else _Choice(((node,),)), self._times(repeat))
            self._take(_BLANK)
        return node

    def _times(self, repeat: re.Match[str]) -> str:
        low, high = repeat["low"], repeat["high"]
        if low is None:
            return repeat[0]
        if high is not None and int(high) < int(low):
            raise self._error(f"{repeat[0]} has its bounds the wrong way round")
        return f"{{{int(low)},{high or ''}}}" if repeat["comma"] else f"{{{int(low)}}}"

    def _token(self) -> _Text:
        token = self._take(_TOKEN)
        if not token:
            raise self._error("a token is expected, as in <[1000]> or <name>")
        return _Text(token[0], token=True)

    def _class(self) -> _Text:
        """A class of characters as a regular expression, every character by its number."""
        negated = self._source.startswith("[^", self._at)
        self._at += negated
        characters = self._characters("]", ranges=True)
        if not characters:
            raise self._error("a class of characters is empty")
        written = (f"\\x{{{ord(char):x}}}" if len(char) == 1 else "-" for char in characters)
        return _Text(f"/[{'^' if negated else ''}{''.join(written)}]/")

    def _characters(self, end: str, *, ranges: bool = False) -> list[str]:
        """The characters up to the quote or bracket that ends them; the dash of a range as "--"."""
        found: list[str] = []
        self._at += 1
        while not self._expect(end):
            if ranges and self._next == "-" and self._opens_range(found):
                self._at += 1
                found.append("--")
                continue
            found.append(self._character())
            if len(found) > 2 and found[-2] == "--" and found[-3] > found[-1]:
                raise self._error(f"the range {found[-3]}-{found[-1]} is the wrong way round")
        return found

    def _opens_range(self, found: list[str]) -> bool:
        """Whether a dash after these characters makes a range; else it stands for itself."""
        last = self._source[self._at + 1 : self._at + 2] in ("]", "")
        return bool(found) and found[-1] != "--" and found[-2:-1] != ["--"] and not last

    def _character(self) -> str:
        char = self._next
        if not char:
            raise self._error("the grammar ends inside a text or a class")
        self._at += 1
        if char != "\\":
            return char
        escape = self._next
        self._at += 1
        if escape in _ESCAPES:
            return _ESCAPES[escape]
        digits = self._source[self._at : self._at + _HEX.get(escape, 0)]
        if not re.fullmatch(r"[0-9a-fA-F]+", digits) or len(digits) < _HEX[escape]:
            raise self._error(f"the escape \\{escape}{digits} is not known")
        self._at += len(digits)
        number = int(digits, 16)
        if number > 0x10FFFF or 0xD800 <= number < 0xE000:
            raise self._error(f"\\{escape}{digits} is no character")
        return chr(number)

    @property
    def _next(self) -> str:
        return self._source[self._at : self._at + 1]

    def _expect(self, char: str) -> bool:
        found = self._next == char
        self._at += found
        return found

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._source, self._at)
        if match:
            self._at = match.end()
        return match

    def _error(self, what: str) -> InvalidRequest:
        line = self._source.count("\n", 0, self._at) + 1
        return InvalidRequest(f"the grammar is not valid: {what} (line {line})")
