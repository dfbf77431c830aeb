"""The generator: the same for the same seed, true to the split, and enough of everything."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest
from training.book import Book, Fact, load
from training.conversations import TASKS, conversation, hand_questions, turn
from training.grammar import LANGUAGES, Language, Phrases, normal
from training.noise import HAN, SAFE_TO_SLIP, untidy


@pytest.fixture(scope="module")
def book() -> Book:
    return load()


def phrase_lists(book: Book, language: Language) -> list[tuple[str, Phrases]]:
    """Every list of whole phrases, with the name of what it means."""
    intents = [*book.smalltalk, *book.offtopic]
    facts = [(fact.name, part[language]) for fact in facts_of(book) for part in (fact.wish, fact.ask, fact.noun)]
    return [(intent.name, intent.phrases[language]) for intent in intents] + facts


def facts_of(book: Book) -> tuple[Fact, ...]:
    return book.facts + book.missing


def test_a_seed_gives_the_same_conversations(book: Book) -> None:
    first, second = ([conversation(rng, book) for _ in range(300)] for rng in (Random(7), Random(7)))
    assert first == second
    assert first != [conversation(Random(8), book) for _ in range(300)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_held_out_and_training_phrasings_are_disjoint(book: Book, language: Language) -> None:
    for name, phrases in [*phrase_lists(book, language), *((k, v[language]) for k, v in book.frames.items())]:
        trained, held = ({normal(p) for p in phrases.flat(side)} for side in (False, True))
        assert not trained & held, name


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_phrase_has_one_meaning(book: Book, language: Language) -> None:
    meanings = defaultdict(set)
    for name, phrases in phrase_lists(book, language):
        for phrase in phrases.flat(held=False) + phrases.flat(held=True):
            meanings[normal(phrase)].add(name)
    assert {phrase: names for phrase, names in meanings.items() if len(names) > 1} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_intent_and_fact_has_enough_wordings(book: Book, language: Language) -> None:
    for intent in book.smalltalk:
        trained = intent.phrases[language].flat(held=False)
        assert len(trained) >= 40, intent.name
        assert intent.phrases[language].flat(held=True), intent.name
    for fact in facts_of(book):
        assert len(fact.wish[language].flat(held=False)) >= 12, fact.name
        assert fact.asked[language], fact.name
        assert fact.does[language], fact.name


def test_every_variable_has_names_for_what_it_sets(book: Book) -> None:
    for fact in book.facts:
        has = [bool(fact.noun[language].flat(held=False)) for language in LANGUAGES]
        assert has == [fact.kind == "variable"] * len(LANGUAGES), fact.name


def test_no_hand_typed_question_is_ever_generated(book: Book) -> None:
    reserved = {normal(question) for pairs in hand_questions().values() for question, _ in pairs}
    rng = Random(1)
    made = (t.question for _ in range(4000) for t in conversation(rng, book).turns)
    assert not reserved & {normal(question) for question in made}


def test_the_seed_question_is_kept_out_of_training() -> None:
    assert "你会说中文吗" in {question for question, _ in hand_questions()["zh"]}


def test_there_are_enough_hand_typed_questions() -> None:
    assert all(len(hand_questions()[language]) >= 60 for language in LANGUAGES)


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_turns_are_in_their_language_with_no_slot_left(book: Book, task: object, held: bool) -> None:
    rng = Random(3)
    maker = next(t for t in TASKS if t is task)
    for language in LANGUAGES:
        for _ in range(200):
            made = turn(rng, book, language, held, maker)
            assert "{" not in made.question, made
            assert made.right(made.answer), made
            if made.task in ("repeat", "sums"):  # words of both languages, and numbers
                continue
            assert not HAN.search(made.question) or language == "zh" or made.language == "zh", made
            assert bool(HAN.search(made.answer)) == (language == "zh") or "我会说中文" in made.answer, made


def test_a_long_conversation_is_long_enough_for_the_whole_context(book: Book) -> None:
    assert len(conversation(Random(0), book, long=True).turns) >= 50


def test_slips_hit_no_word_that_carries_meaning() -> None:
    rng = Random(5)
    for _ in range(2000):
        words = untidy(rng, "how should you start the server", "en").lower()
        assert "start" in words
        assert "server" in words
    assert not {"start", "stop", "model", "server", "who", "name"} & SAFE_TO_SLIP


def test_a_bare_name_in_chinese_ends_in_a_mark_that_says_so() -> None:
    rng = Random(5)
    texts = [untidy(rng, "puna serve", "zh", exact=True) for _ in range(200)]
    assert all(text[-1] in "？呢。" or HAN.search(text) for text in texts)
