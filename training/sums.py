"""Sums and differences of numbers below 100, one or several at once, and the sums that cria cannot do.

A fifth of the pairs of numbers is held out, in either order.
"""

from __future__ import annotations

from random import Random

from training.book import Book
from training.grammar import Language, bucket
from training.noise import untidy
from training.turns import Conversation, Turn

HELD_PAIRS = 5  # one pair in five
MOST = 12  # sums asked for at once


def sums(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """A sum or a difference."""
    sign = rng.choice("+-")
    a, b = pair(rng, sign, held)
    phrases = book.sums.phrases["plus" if sign == "+" else "minus"][language]
    question = phrases.pick(rng, held).replace("{a}", str(a)).replace("{b}", str(b))
    said = f"{a} {sign} {b} = {a + b if sign == '+' else a - b}"
    end = "。" if language == "zh" else "."
    return Turn("sums", language, untidy(rng, question, language, exact=True), said + end, (said + end,))


def several(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """A list of sums. Each takes half the tokens of one asked for alone: this is where adding is learned."""
    between = rng.choice(("; ", ", ", "\n"))
    asked, said = [], []
    for _ in range(rng.randint(2, MOST)):
        sign = rng.choice("+-")
        a, b = pair(rng, sign, held)
        asked.append(f"{a} {sign} {b}")
        said.append(f"{a} {sign} {b} = {a + b if sign == '+' else a - b}")
    question = book.sums.phrases["several"][language].pick(rng, held).replace("{s}", between.join(asked))
    answer = between.join(said)
    return Turn("several sums", language, question, answer, (answer,))


def drill(rng: Random, book: Book, language: Language, held: bool) -> Conversation:
    """Sums and lists of sums, one after the other."""
    makers = rng.choices((several, sums), (2, 1), k=rng.randint(1, 4))
    return Conversation(None, tuple(maker(rng, book, language, held) for maker in makers))


def pair(rng: Random, sign: str, held: bool) -> tuple[int, int]:
    """Two numbers below 100 on the right side of the split; differences below zero are rare."""
    while True:
        limit = 10 if rng.random() < 0.1 else 100
        a, b = rng.randrange(limit), rng.randrange(limit)
        if sign == "-" and a < b and rng.random() < 0.85:
            a, b = b, a
        if (bucket(f"{min(a, b)}{sign}{max(a, b)}", HELD_PAIRS) == 0) == held:
            return a, b


def too_hard(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """Products, quotients, and sums of larger numbers."""
    values = {
        "{a}": rng.randrange(2, 100),
        "{b}": rng.randrange(2, 100),
        "{n}": rng.randrange(100, 10 ** rng.choice((3, 4, 5))),
        "{m}": rng.choice((rng.randrange(2, 100), rng.randrange(100, 10000))),
    }
    question = book.sums.phrases["other"][language].pick(rng, held)
    for slot, value in values.items():
        question = question.replace(slot, str(value))
    answer = book.sums.too_hard[language]
    return Turn("sums too hard", language, untidy(rng, question, language, exact=True), answer, (answer,))
