"""`python -m puna.rag.parsing HTML|PDF LIMIT < file`: a document's sections as JSON. A process of its own.

A file may unpack to any size, refer to itself, or be nested so deep that parsing it takes the square of its length: the
system ends this process where it takes too much, and nobody else notices.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from typing import TypeAlias

from puna.errors import MissingPackage
from puna.rag.extra import needs_extra
from puna.rag.reading import MISSING, heading_path

MEMORY = 2 << 30  # bytes of address space
SECONDS = 60  # of computing

Found: TypeAlias = tuple[str, str, int]  # text, headings above it, page or 0

_SILENT = ("script", "style", "noscript", "template", "nav", "svg", "iframe", "object", "head")
_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_BLOCKS = frozenset(
    """address article aside blockquote body dd details div dl dt figcaption figure footer form header hr main ol p pre
    section summary table tbody thead ul""".split()  # noqa: SIM905  as a list it would be as long as this module
)
_LINES = frozenset({"br", "li", "tr"})
_HEADING_DEPTH = 8  # elements within a heading


def main() -> None:
    """Read standard input, write standard output; what is wrong is the last line of standard error."""
    _limit()
    kind, limit = sys.argv[1], int(sys.argv[2])
    logging.disable(logging.CRITICAL)  # pypdf tells of each flaw that it gets over
    data = sys.stdin.buffer.read()
    try:
        with needs_extra():
            found = pdf(data, limit) if kind == "PDF" else html(data.decode())
    except MissingPackage as error:
        sys.stderr.write(str(error))
        sys.exit(MISSING)
    except MemoryError:
        sys.exit("it unpacks to more memory than a document may take")
    except Exception as error:  # whatever a damaged file makes a parser raise
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.write(json.dumps([each for each in found if each[0].strip()]))


def pdf(data: bytes, limit: int) -> list[Found]:
    """Its pages. Raises ValueError for one with more than `limit` characters, or encrypted."""
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("it is encrypted, and a password is needed")
    found: list[Found] = []
    size = 0
    for number, page in enumerate(reader.pages, 1):
        found.append((page.extract_text(), "", number))
        size += len(found[-1][0])
        if size > limit:
            raise ValueError(f"it has more than {limit >> 20} million characters")
    return found


def html(text: str) -> list[Found]:
    """By its headings; what browsers do not show, and navigation, is left out."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    above: list[tuple[int, str]] = [(0, _blanks(title.text()))] if title and _blanks(title.text()) else []
    for tag in _SILENT:
        for node in tree.css(tag):
            node.decompose()
    if tree.body is None:
        return []
    sections: list[Found] = []
    words: list[str] = []
    ended = set[int]()  # headings whose own text was taken already
    for node in tree.body.traverse(include_text=True):
        tag = node.tag or ""
        if tag in _HEADINGS:
            sections.append((_paragraphs(words), heading_path(above), 0))
            words, level = [], int(tag[1])
            above = [*(each for each in above if each[0] < level), (level, _blanks(node.text(separator=" ")))]
            ended.add(node.mem_id)
        elif tag == "-text" and not any(_inside(node, ended)):
            words.append(node.text(deep=False))
        elif tag in _BLOCKS or tag in _LINES:
            words.append("\n" if tag in _LINES else "\n\n")
        elif tag in ("td", "th"):
            words.append(" ")
    return [*sections, (_paragraphs(words), heading_path(above), 0)]


def _inside(node: object, ended: set[int]) -> Iterator[bool]:
    """Whether each of a node's few nearest parents is a heading."""
    for _ in range(_HEADING_DEPTH):
        node = getattr(node, "parent", None)
        if node is None:
            return
        yield getattr(node, "mem_id", None) in ended


def _blanks(text: str) -> str:
    return " ".join(text.split())


def _paragraphs(words: list[str]) -> str:
    lines = (_blanks(line) for line in "".join(words).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _limit() -> None:
    if sys.platform == "win32":  # which has no such limits; the parent's clock remains
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    if sys.platform != "darwin":  # where it is not obeyed
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    main()
