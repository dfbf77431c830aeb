"""What the user says about himself, and asks for again some turns later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from training.book import Book
from training.copying import words
from training.grammar import Language
from training.material import Memory
from training.noise import untidy
from training.turns import Turn
from training.values import value

Other = Callable[[], Turn]  # makes a turn about something else


@dataclass(frozen=True, slots=True)
class _Told:
    memory: Memory
    noun: str
    value: str

    def fill(self, text: str) -> str:
        return with_noun(text, self.noun).replace("{v}", self.value)


def memory(rng: Random, book: Book, language: Language, held: bool, other: Other) -> list[Turn]:
    """One to four things are told, with other turns between; then one is asked for, or one that was never told."""
    told: list[_Told] = []
    turns: list[Turn] = []
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        one = _pick(rng, book, language, held)
        if any(one.noun == t.noun for t in told):
            continue
        told.append(one)
        turns += [_tell(rng, one, language, held)]
        turns += [other() for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2)))]
    if rng.random() < 0.12:
        return [*turns, _never_told(rng, book, language, held, told)]
    if rng.random() < 0.1:  # it changes
        old = rng.choice(told)
        new = _Told(old.memory, old.noun, _value(rng, book, language, held, old))
        told = [new if one is old else one for one in told]
        turns.append(_tell(rng, new, language, held))
    asked = rng.sample(told, rng.randint(1, len(told)))
    return turns + [_ask(rng, one, language, held) for one in asked]


def last_words(rng: Random, book: Book, language: Language, held: bool, other: Other) -> list[Turn]:
    """What the user said just before, word for word."""
    before = other() if rng.random() < 0.5 else _tell(rng, _pick(rng, book, language, held), language, held)
    if rng.random() < 0.1:
        text = words(rng, book, language, held)
        answer = book.offtopic[0].answer[language]
        before = Turn("unknown", language, text, answer, (answer,))
    answer = book.last_words.answer[language].replace("{v}", before.question)
    question = untidy(rng, book.last_words.ask[language].pick(rng, held), language)
    return [before, Turn("memory", language, question, answer, (answer,))]


def with_noun(text: str, noun: str) -> str:
    """The text with its {k} filled; 我的最喜欢 is written 我最喜欢."""
    text = text.replace("{k}", noun)
    return text.replace("我的最", "我最").replace("你的最", "你最")


def _pick(rng: Random, book: Book, language: Language, held: bool) -> _Told:
    kind = book.memories[0] if rng.random() < 0.55 else rng.choice(book.memories[1:])
    noun, values = kind.noun(rng, language, held)
    return _Told(kind, noun, value(values, rng, book, language, held))


def _value(rng: Random, book: Book, language: Language, held: bool, told: _Told) -> str:
    kinds = dict(told.memory.nouns[language])
    return value(kinds[told.noun], rng, book, language, held)


def _tell(rng: Random, told: _Told, language: Language, held: bool) -> Turn:
    text = told.fill(told.memory.say[language].pick(rng, held))
    text = text[0].upper() + text[1:] if rng.random() < 0.5 else text
    end = rng.choice(("", "", ".", "!")) if language == "en" else rng.choice(("", "", "。", "！"))
    reply = told.fill(told.memory.reply[language])
    return Turn("memory told", language, text + end, reply, (reply,))


def _ask(rng: Random, told: _Told, language: Language, held: bool) -> Turn:
    question = told.memory.ask[language].pick(rng, held)
    question = with_noun(question, told.noun)
    answer = told.fill(told.memory.answer[language])
    return Turn("memory", language, untidy(rng, question, language), answer, (told.value,))


def _never_told(rng: Random, book: Book, language: Language, held: bool, told: list[_Told]) -> Turn:
    while True:
        one = _pick(rng, book, language, held)
        if all(one.noun != t.noun for t in told):
            break
    question = one.memory.ask[language].pick(rng, held)
    question = with_noun(question, one.noun)
    answer = with_noun(one.memory.unknown[language], one.noun)
    return Turn("memory of nothing", language, untidy(rng, question, language), answer, (answer,))
