"""Saying again what the user asks to hear: words, names, numbers, codes, sentences."""

from __future__ import annotations

from random import Random

from training.book import Book
from training.grammar import Language
from training.noise import untidy
from training.turns import Turn
from training.values import KINDS, gibberish, value


def repeat(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """A text to be repeated."""
    text = words(rng, book, language, held)
    frame = book.repeat[language].pick(rng, held)
    question = frame.replace("{v}", text)
    if frame.endswith("{v}"):  # a mark after it would belong to the text
        question = question[0].upper() + question[1:] if rng.random() < 0.5 else question
    else:
        question = untidy(rng, question, language, exact=True)
    return Turn("repeat", language, question, text, (text,))


def words(rng: Random, book: Book, language: Language, held: bool) -> str:
    """One to six values, which may be of both languages."""
    blank = "" if language == "zh" and rng.random() < 0.8 else " "
    return blank.join(_word(rng, book, language, held) for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 6))))


def _word(rng: Random, book: Book, language: Language, held: bool) -> str:
    if rng.random() < 0.06:
        return gibberish(rng, language)
    other: Language = "en" if language == "zh" or rng.random() < 0.9 else "zh"
    return value(rng.choice(tuple(KINDS)), rng, book, other if rng.random() < 0.2 else language, held)
