from __future__ import annotations

from puna.rag import Hit, Passage, quote
from puna.rag.quoting import cited, describe

HITS = [Hit(f"d{n}", 0, Passage(f"text {n}", "Head", f"line {n}"), 0.5) for n in (1, 2, 3)]


def test_as_many_sources_as_fit_the_best_first_and_the_others_counted() -> None:
    quoted = quote(
        "Why?", HITS, {"d1": "a.md", "d2": "b.md", "d3": "c.md"}.__getitem__, lambda text: "text 3" not in text
    )
    assert quoted.sources == tuple(HITS[:2])
    assert quoted.left_out == 1
    assert "[1] a.md, Head, line 1\ntext 1\n\n[2] b.md, Head, line 2\ntext 2" in quoted.text
    assert quoted.text.endswith("Question: Why?")


def test_without_sources_the_question_is_as_it_was() -> None:
    assert quote("Why?", HITS, str, lambda _: False).text == "Why?"
    assert quote("Why?", [], str, lambda _: True).text == "Why?"


def test_only_marks_that_name_a_source_count() -> None:
    assert cited("So [1], not [4] or [x], but [2][1].", 3) == [(3, 1), (28, 2), (31, 1)]


def test_a_source_says_where_it_is_from() -> None:
    assert describe(HITS[0], "a.md") == "a.md, Head, line 1"
    assert describe(Hit("d", 0, Passage("x"), 1.0), "a.txt") == "a.txt"
