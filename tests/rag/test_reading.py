from __future__ import annotations

import time

import pytest

from puna.errors import UnreadableDocument
from puna.rag import reading
from puna.rag.reading import read_sections
from tests.rag.pdfs import bomb, loop, pdf


def test_markdown_by_headings_with_the_path_of_headings_and_lines() -> None:
    text = "intro\n\n# Install\n\n## Windows\n\nRun it.\n\n```\n# no heading\n```\n\nUse\n===\n\nlast"
    sections = read_sections("a.md", text.encode())
    assert [(each.heading, each.line) for each in sections] == [("", 1), ("Install > Windows", 6), ("Use", 15)]
    assert "# no heading" in sections[1].text


def test_html_by_headings_without_what_is_not_shown() -> None:
    page = """<!doctype html><html><head><title>Guide</title><style>p{}</style></head><body><nav>Home</nav>
    <h1>One <em>more</em></h1><p>First<br>line.</p><script>evil()</script><h2>Two</h2><table><tr><td>a<td>b</table>"""
    sections = read_sections("a.html", page.encode())
    assert [(each.heading, each.text) for each in sections] == [
        ("Guide > One more", "First\nline."),
        ("Guide > One more > Two", "a b"),
    ]


def test_code_by_definitions_of_any_language() -> None:
    python = 'import os\n\n\n@cache\ndef first(a):\n    """Doc."""\n\n    return a\n\n\nclass Second:\n    x = 1\n'
    assert [each.heading for each in read_sections("a.py", python.encode())] == [
        "import os",
        "def first(a):",
        "class Second:",
    ]
    rust = "use std::io;\n\nfn main() {\n    println!();\n\n    exit();\n}\n\nstruct Point {\n    x: i32,\n}\n"
    sections = read_sections("a.rs", rust.encode())
    assert [(each.heading, each.line) for each in sections] == [
        ("use std::io;", 1),
        ("fn main() {", 3),
        ("struct Point {", 9),
    ]
    assert "exit();\n}" in sections[1].text


def test_pdf_by_pages() -> None:
    sections = read_sections("a.pdf", pdf(["Alpha beta", "", "Gamma (delta\\)".replace("(", "\\(")]))
    assert [(each.page, each.text.strip()) for each in sections] == [(1, "Alpha beta"), (3, "Gamma (delta)")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_chinese_in_the_encodings_it_comes_in(encoding: str) -> None:
    [section] = read_sections("a.txt", "第一行\r\n第二行".encode(encoding))
    assert section.text == "第一行\n第二行"


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.txt", b"\x7fELF\0\0\0", "is not text"),
        ("a.docx", b"PK\x03\x04\x14\0\x06\0", "is not text"),
        ("a.txt", b"caf\xff\xff\xff", "convert it first"),
        ("a.pdf", b"%PDF-1.7\nnothing", "no PDF that can be read"),
        ("a.txt", b"%PDF-1.7\nnothing", "no PDF that can be read"),  # whatever it is called
        ("a.pdf", pdf([""]), "without text"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(name: str, data: bytes, why: str) -> None:
    with pytest.raises(UnreadableDocument, match=why):
        read_sections(name, data)


@pytest.mark.parametrize(
    ("name", "data"),
    [("bomb.pdf", bomb(1 << 27)), ("loop.pdf", loop()), ("deep.html", b"<div>" * 200_000 + b"x")],
    ids=["bomb", "loop", "nested"],
)
def test_hostile_files_end_at_the_limit_and_leave_this_process_alone(
    name: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PARSE_SECONDS", 5.0)
    begun = time.monotonic()
    with pytest.raises(UnreadableDocument):
        read_sections(name, data)
    assert time.monotonic() - begun < 60


def test_sizes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 10)
    with pytest.raises(UnreadableDocument, match="larger than"):
        read_sections("a.txt", b"x" * 11)
    monkeypatch.setattr(reading, "MAX_CHARACTERS", 5)
    with pytest.raises(UnreadableDocument, match="characters"):
        read_sections("a.txt", b"x" * 10)


def test_deeply_nested_markdown_is_read_in_time() -> None:
    begun = time.monotonic()
    read_sections("a.md", b"> " * 20_000 + b"x")
    assert time.monotonic() - begun < 30
