"""Answers wrapped at words, as a terminal shows them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth

from puna.cli.wrapping import WordWrap

TEXTS = st.text(st.sampled_from("ab é中文 \t\n,"), max_size=120)


def width(line: str) -> int:
    """Columns, with a tab stop every eight."""
    column = 0
    for character in line:
        column = column // 8 * 8 + 8 if character == "\t" else column + get_cwidth(character)
    return column


def shown(columns: int, pieces: list[str]) -> list[str]:
    """The lines on a terminal, and that nothing goes beyond its width."""
    wrap = WordWrap(columns)
    lines = [""]
    for part in re.findall(r"\x1b\[\d+D\x1b\[K|.|\n", "".join(map(wrap.push, pieces)), re.DOTALL):
        if part.startswith("\x1b"):
            back = int(part[2:].partition("D")[0])
            while back > 0:
                back -= get_cwidth(lines[-1][-1])
                lines[-1] = lines[-1][:-1]
        elif part == "\n":
            lines.append("")
        else:
            lines[-1] += part
        assert width(lines[-1]) < columns
    return lines


@given(TEXTS, st.lists(st.integers(0, 120)), st.integers(12, 40))
def test_whatever_the_width_and_the_pieces_every_word_is_there_and_no_line_too_long(
    text: str, cuts: list[int], columns: int
) -> None:
    ends = sorted({*(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    lines = shown(columns, pieces)
    assert lines == shown(columns, [text]), "how the text is cut must not matter"
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three four", ["one two ", "three four"]),
        ("one\ntwo", ["one", "two"]),
        ("aaaaaaaaaaaaaaaa", ["aaaaaaaaaaa", "aaaaa"]),
        ("中文中文中文中", ["中文中文中", "文中"]),
    ],
)
def test_words_move_whole_to_the_next_line(text: str, lines: list[str]) -> None:
    assert shown(12, list(text)) == lines
