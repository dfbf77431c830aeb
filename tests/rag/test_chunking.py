from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidRequest
from puna.rag.chunking import Cut, passages
from puna.rag.reading import Section, markdown
from tests.rag.words import WordsEmbedder

count = WordsEmbedder().count_tokens
TEXTS = st.text(st.sampled_from("ab .\n。数-|"), max_size=400)


@given(TEXTS, st.integers(16, 60), st.integers(0, 8), st.booleans())
def test_no_passage_is_too_long_and_nothing_is_lost(text: str, tokens: int, overlap: int, code: bool) -> None:
    found = list(passages([Section(text, "Head", line=1, code=code)], Cut(tokens, overlap), count))
    assert all(count(passage.embedded) <= tokens for passage in found)
    letters = re.sub(r"\s", "", text)
    kept = "".join(re.sub(r"\s", "", passage.text) for passage in found)
    if overlap == 0:
        assert kept == letters
    else:
        assert len(kept) >= len(letters)


def test_paragraphs_stay_whole_and_a_passage_never_crosses_a_heading() -> None:
    text = "# A\n\none two three\n\nfour five\n\n# B\n\nsix"
    found = list(passages(markdown(text), Cut(40), count))
    assert [(each.heading, each.text, each.place) for each in found] == [
        ("A", "one two three\n\nfour five", "lines 3-5"),
        ("B", "six", "line 9"),
    ]


def test_a_long_paragraph_is_cut_at_sentences_in_chinese_too() -> None:
    text = "今天天气很好。我们去公园散步吧！你想一起来吗？好的。"
    found = [each.text for each in passages([Section(text)], Cut(16), count)]
    assert found == ["今天天气很好。", "我们去公园散步吧！", "你想一起来吗？ 好的。"]


def test_a_sentence_keeps_the_quotes_that_it_closes() -> None:
    text = "他对我们说：“明天一起去公园！”然后他就走了。（大家都很高兴。）她说：“We go to the park now.” Then she left."
    found = [each.text for each in passages([Section(text)], Cut(16), count)]
    assert found == [
        "他对我们说：“明天一起去公园！”",
        "然后他就走了。",
        "（大家都很高兴。）",
        "她说：“We go to the park now.”",
        "Then she left.",
    ]


def test_the_end_of_a_passage_is_repeated_in_the_next() -> None:
    text = "\n\n".join(f"word{index} a b c" for index in range(12))
    found = list(passages([Section(text)], Cut(20, 6), count))
    ends = [each.text.split("\n\n")[-1] for each in found]
    starts = [each.text.split("\n\n")[0] for each in found]
    assert len(found) > 2
    assert starts[1:] == ends[:-1]


def test_a_word_without_end_is_cut_though_a_vocabulary_takes_it_for_one_token() -> None:
    found = list(passages([Section("x" * 100_000)], Cut(32), lambda _: 1))
    assert max(len(each.text) for each in found) <= 32 * 16


@pytest.mark.parametrize(("tokens", "overlap"), [(4, 0), (100, 51), (100, -1)])
def test_lengths_that_make_no_sense_are_refused(tokens: int, overlap: int) -> None:
    with pytest.raises(InvalidRequest):
        Cut(tokens, overlap)
