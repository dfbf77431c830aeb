"""Text with structure to passages of so many tokens.

A passage never crosses a heading, a definition or a page. Inside, whole paragraphs are put together as long as they
fit; a paragraph that does not is cut at the ends of sentences, a line of code at its end, and only what has neither is
cut between words, at last between characters. Knows nothing of files, and of tokens only how to count them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from puna.errors import InvalidRequest
from puna.rag.documents import Passage
from puna.rag.reading import Section

Count: TypeAlias = Callable[[str], int]

MIN_TOKENS = 16  # below, a passage says nothing
MAX_CHARACTERS_PER_TOKEN = 16  # more are counted as more: a vocabulary may take a long word for one token
JOINT = 2  # tokens that a line end between two pieces may take
VERSION = 2  # goes into documents' digests: other passages of the same text are another version

# The end of a sentence, in Latin and in East Asian punctuation, with the quotes and brackets that it closes.
_SENTENCE = re.compile(r"[.!?][\"'”’]*\s+|[。！？；]+[”’」』）》】.]*\s*")
_LINE = re.compile(r"\n+")
_WORD = re.compile(r"(?<=\s)(?=\S)")


@dataclass(frozen=True, slots=True)
class Cut:
    """How long passages are.

    Raises:
        InvalidRequest: no such lengths.
    """

    tokens: int  # of a passage at most, its heading included
    overlap: int = 0  # of these, repeated from the passage before

    def __post_init__(self) -> None:
        if self.tokens < MIN_TOKENS:
            raise InvalidRequest(f"passages must have at least {MIN_TOKENS} tokens, not {self.tokens}")
        if not 0 <= self.overlap <= self.tokens // 2:
            raise InvalidRequest(f"passages of {self.tokens} tokens may overlap by 0 to {self.tokens // 2}")


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is not cut any more."""

    text: str
    tokens: int
    line: int  # where it begins, from 1; 0: unknown
    joint: str  # what stands between it and the piece before


def passages(sections: Iterable[Section], cut: Cut, count: Count) -> Iterator[Passage]:
    """The passages, in the order of the text."""
    for section in sections:
        heading = _fitting(section.heading, cut.tokens // 4, count)
        room = cut.tokens - (count(heading) + JOINT if heading else 0)
        pieces = list(_pieces(section, room, count))
        for group in _groups(pieces, room, min(cut.overlap, room // 2)):
            yield Passage(_joined(group), heading, _place(section, group))


def _groups(pieces: list[_Piece], room: int, overlap: int) -> Iterator[list[_Piece]]:
    """As many pieces as fit, the last ones of a group repeated in the next."""
    group: list[_Piece] = []
    fresh = 0  # pieces of the group that are in no other
    for piece in pieces:
        if group and _size(group) + JOINT + piece.tokens > room:
            yield group
            group, fresh = _tail(group, min(overlap, room - piece.tokens - JOINT)), 0
        group.append(piece)
        fresh += 1
    if fresh:
        yield group


def _tail(group: list[_Piece], tokens: int) -> list[_Piece]:
    """The last pieces that have so many tokens at most; never all of them."""
    start = len(group)
    while start > 1 and _size(group[start - 1 :]) <= tokens:
        start -= 1
    return group[start:]


def _size(group: list[_Piece]) -> int:
    return sum(piece.tokens + JOINT for piece in group) - (JOINT if group else 0)


def _joined(group: list[_Piece]) -> str:
    first, *others = group
    return (first.text + "".join(piece.joint + piece.text for piece in others)).strip("\n")


def _pieces(section: Section, room: int, count: Count) -> Iterator[_Piece]:
    """Paragraphs, or lines of code; smaller where they are too long."""
    line = section.line
    separator = "\n" if section.code else "\n\n"
    for paragraph in section.text.split(separator):
        if paragraph.strip():
            lead = len(paragraph) - len(paragraph.lstrip("\n"))
            body = paragraph[lead:].rstrip()
            yield from _fit(body, room, count, line + lead if line else 0, separator)
        if line:
            line += paragraph.count("\n") + len(separator)


def _fit(text: str, room: int, count: Count, line: int, joint: str) -> Iterator[_Piece]:
    """The text, or parts of it that fit."""
    least = -(-len(text) // MAX_CHARACTERS_PER_TOKEN)
    if least <= room and (tokens := max(least, count(text))) <= room:
        yield _Piece(text, tokens, line, joint)
        return
    for part in _parts(text):
        for piece in _fit(part.strip(), room, count, line, joint):
            yield piece
            joint = "\n" if part.endswith("\n") else " "
        if line:
            line += part.count("\n")


def _parts(text: str) -> list[str]:
    """Its sentences (of a table or a list its lines); else its two halves, between words where it has any."""
    lines_first = text[0] in "|-*+"
    for ends in (_LINE, _SENTENCE) if lines_first else (_SENTENCE, _LINE):
        if cuts := _cuts(text, ends):
            return [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    middle = min(_cuts(text, _WORD) or [len(text) // 2], key=lambda cut: abs(cut - len(text) // 2))
    return [text[:middle], text[middle:]]


def _cuts(text: str, ends: re.Pattern[str]) -> list[int]:
    return [match.end() for match in ends.finditer(text) if 0 < match.end() < len(text)]


def _fitting(heading: str, tokens: int, count: Count) -> str:
    """The heading, without what stands far above where it is too long."""
    while heading and count(heading) > tokens:
        _, deeper, rest = heading.partition(" > ")
        heading = rest if deeper else heading[: len(heading) // 2].rstrip()
    return heading


def _place(section: Section, group: list[_Piece]) -> str:
    if section.page:
        return f"page {section.page}"
    first, last = group[0], group[-1]
    if not first.line:
        return ""
    end = last.line + last.text.count("\n")
    return f"line {first.line}" if end == first.line else f"lines {first.line}-{end}"
