"""Patterns, and the split between what is trained on and what is held out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from training.grammar import Phrases, expand, normal, read

WORDS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4, unique=True)


def test_expand_gives_every_choice_once_and_tidies_blanks() -> None:
    assert expand("(hi|hello)  (there|)") == ("hi there", "hi", "hello there", "hello")
    assert expand("(a|a) b") == ("a b",)


def test_normal_ignores_case_blanks_and_punctuation_of_both_languages() -> None:
    assert normal("Who are you?") == normal("who  are you") == "whoareyou"
    assert normal("你会说中文吗？") == normal("你会说中文吗")


def test_pinned_lines_are_never_held_out() -> None:
    phrases = read("!(" + "|".join(f"word{i}" for i in range(100)) + ")", "any")
    assert len(phrases.flat(held=False)) == 100
    assert phrases.flat(held=True) == []


@given(st.lists(WORDS, min_size=1, max_size=12))
def test_no_phrase_is_on_both_sides_and_none_is_lost(lines: list[list[str]]) -> None:
    spec = "\n".join(f"({'|'.join(words)})" for words in lines)
    phrases = read(spec, "any")
    trained, held = ({normal(p) for p in phrases.flat(side)} for side in (False, True))
    assert not trained & held
    assert trained | held == {word for words in lines for word in words}


@given(WORDS)
def test_other_lines_do_not_move_a_line_across_the_split(words: list[str]) -> None:
    line = f"({'|'.join(words)}) xyz"
    alone, among = read(line, "any"), read(f"(some|other) line\n{line}\nmore", "any")
    assert set(alone.flat(held=True)) == {p for p in among.flat(held=True) if p.endswith("xyz")}


def test_an_expansion_held_out_in_one_line_but_trained_in_another_is_trained() -> None:
    phrases = read(
        "!(" + "|".join(f"w{i}" for i in range(40)) + ")\n(" + "|".join(f"w{i}" for i in range(60)) + ")", "any"
    )
    assert not {normal(p) for p in phrases.flat(held=True)} & {f"w{i}" for i in range(40)}


def test_pick_stays_on_its_side() -> None:
    from random import Random

    phrases = Phrases(trained=(("a", "b"), ("c",)), held=(("d",),))
    rng = Random(0)
    assert {phrases.pick(rng, held=False) for _ in range(50)} == {"a", "b", "c"}
    assert {phrases.pick(rng, held=True) for _ in range(5)} == {"d"}
