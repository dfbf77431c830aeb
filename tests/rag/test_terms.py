from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from puna.rag.terms import terms

HAN = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=1, max_size=12)


def test_chinese_becomes_characters_and_pairs_and_other_words_stay() -> None:
    assert terms("用Python写数据库").split() == ["用", "Python", "写", "数", "据", "库", "写数", "数据", "据库"]


@given(HAN, st.data())
def test_every_part_of_a_text_has_only_terms_of_the_text(text: str, data: st.DataObject) -> None:
    """A query that is part of a text finds all its terms there, wherever a dictionary would have cut."""
    start = data.draw(st.integers(0, len(text) - 1))
    stop = data.draw(st.integers(start + 1, len(text)))
    assert set(terms(text[start:stop]).split()) <= set(terms(text).split())


@given(st.text(st.characters(max_codepoint=0x2FFF)))
def test_scripts_with_blanks_are_left_as_they_are(text: str) -> None:
    assert terms(text) == text
