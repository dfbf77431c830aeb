"""A file's bytes to text with structure: sections under their headings, with their places.

Files are hostile: no more than MAX_BYTES are read and MAX_CHARACTERS kept, parsers that could run or grow without end
work in a process of their own under limits, no format that unpacks archives is read, and nothing in a file (links,
includes, scripts) is followed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

from puna.errors import MissingPackage, UnreadableDocument
from puna.rag.extra import needs_extra

MAX_BYTES = 64 << 20  # of a file
MAX_CHARACTERS = 16 << 20  # of its text
PARSE_SECONDS = 60.0
MISSING = 3  # exit code of the parsing process where its package is not installed


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MARKDOWN = _names(".md .markdown .mdx")
HTML = _names(".html .htm .xhtml")
PDF = _names(".pdf")
CODE = _names(
    """.py .pyi .js .mjs .cjs .ts .tsx .jsx .java .kt .scala .go .rs .c .h .cc .cpp .cxx .hpp .cs .swift .rb .php .lua
    .sh .bash .zsh .ps1 .sql .r .jl .hs .ml .ex .exs .erl .clj .dart .zig .toml .yaml .yml .ini .cfg .css .proto"""
)
TEXT = _names(".txt .text .rst .adoc .org .tex .log .csv .tsv .json .jsonl .xml")


@dataclass(frozen=True, slots=True)
class Section:
    """Text under one heading."""

    text: str
    heading: str = ""  # all headings above it: `Install > Windows`
    line: int = 0  # where it begins, from 1; 0: lines mean nothing here
    page: int = 0  # the same for pages
    code: bool = False  # whether a line is what must not be cut


def is_readable(name: str) -> bool:
    """Whether a file of that name is read when it is met in a folder."""
    return PurePath(name).suffix.lower() in MARKDOWN | HTML | PDF | CODE | TEXT


def read_sections(name: str, data: bytes) -> list[Section]:
    """The text of a file with what structure it has.

    Raises UnreadableDocument: binary, damaged, of an unknown encoding, too large, or it takes too long.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableDocument(f"is larger than {MAX_BYTES >> 20} MiB")
    suffix = PurePath(name).suffix.lower()
    if data[:1024].lstrip().startswith(b"%PDF-") or suffix in PDF:
        sections = _apart("PDF", data)
        if not sections:
            raise UnreadableDocument("is a PDF without text: scanned pages would need character recognition first")
        return sections
    text = decode(data)
    if len(text) > MAX_CHARACTERS:
        raise UnreadableDocument(f"has more than {MAX_CHARACTERS >> 20} million characters: split it")
    if suffix in HTML:
        return _apart("HTML", text.encode("utf-8", "replace"))
    reader = markdown if suffix in MARKDOWN else code if suffix in CODE else plain
    return [section for section in reader(text) if section.text.strip()]


def decode(data: bytes) -> str:
    """UTF-8, UTF-16 with its mark, or GB 18030. Raises UnreadableDocument."""
    encodings = ["utf-16"] if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "gb18030"]
    if encodings[0] != "utf-16" and b"\0" in data[: 1 << 16]:
        raise UnreadableDocument("is not text: Markdown, HTML, PDF, code and plain text can be read")
    for encoding in encodings:
        try:
            return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            continue
    raise UnreadableDocument("is not text in UTF-8, UTF-16 or GB 18030: convert it first")


def plain(text: str) -> list[Section]:
    """Text without headings."""
    return [Section(text, line=1)]


def markdown(text: str) -> list[Section]:
    """CommonMark by its headings; a `#` in a code block is none."""
    with needs_extra():
        from markdown_it import MarkdownIt
    parser = MarkdownIt("commonmark")
    parser.core.ruler.enableOnly(["normalize", "block"])  # inline markup is left as it is written
    lines = text.split("\n")
    sections: list[Section] = []
    above: list[tuple[int, str]] = []  # level and text of the headings above
    start = 0  # of the section, from 0

    def end(stop: int) -> None:
        sections.append(Section("\n".join(lines[start:stop]), heading_path(above), start + 1))

    tokens = parser.parse(text)
    for token, following in pairwise(tokens):
        if token.type == "heading_open" and token.map is not None and token.level == 0:
            end(token.map[0])
            level = int(token.tag[1:])
            above = [*(each for each in above if each[0] < level), (level, following.content.strip())]
            start = token.map[1]
    end(len(lines))
    return sections


def code(text: str) -> list[Section]:
    """Code by what begins at the left margin after a blank line: a function, a class, a table of settings.

    So it goes for any language that is indented; the definition's first line is the heading.
    """
    sections: list[Section] = []
    lines = text.split("\n")
    start = 0
    for number in range(1, len(lines)):
        line, before = lines[number], lines[number - 1]
        if line[:1].strip() and line[0] not in ")]}" and not before.strip():
            sections.append(_definition(lines, start, number))
            start = number
    return [*sections, _definition(lines, start, len(lines))]


def _definition(lines: list[str], start: int, stop: int) -> Section:
    heads = (line.strip() for line in lines[start:stop] if line.strip() and line.lstrip()[0] not in "@#/*")
    return Section("\n".join(lines[start:stop]), next(heads, "")[:120], start + 1, code=True)


def _apart(kind: str, data: bytes) -> list[Section]:
    """What a parser that a file could keep busy without end finds: in a process under limits of time and memory."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "puna.rag.parsing", kind, str(MAX_CHARACTERS)],
            input=data,
            capture_output=True,
            timeout=PARSE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnreadableDocument(f"takes more than {PARSE_SECONDS:.0f} seconds to read: is it hostile?") from None
    if done.returncode == MISSING:
        raise MissingPackage(done.stderr.decode("utf-8", "replace").strip())
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise UnreadableDocument(f"is no {kind} that can be read: {said or f'its parser ended with {done.returncode}'}")
    return [Section(text, heading, page=page) for text, heading, page in json.loads(done.stdout)]


def heading_path(headings: list[tuple[int, str]]) -> str:
    """`Install > Windows` of (level, text) of the headings above a text."""
    return " > ".join(text for _, text in headings if text)[:300]
