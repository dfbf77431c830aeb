"""Texts with questions whose answer is a sentence of the text, quoted as it stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from training.book import Book
from training.grammar import Language, bucket
from training.turns import Conversation, Turn
from training.values import WEEKDAYS, clock, date, made_up_word, name, place, syllables, thing, value

_NAMED = re.compile(r"\{(\w):(\w+)\}")


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    questions: tuple[str, ...]


def passage(rng: Random, book: Book, language: Language, held: bool) -> Conversation:
    """A text and one or more questions; the text may be a message of its own or the system prompt."""
    count = rng.choice((1, 2, 2, 3, 3, 4, 5, 6)) if rng.random() < 0.9 else rng.randint(8, 20)
    sentences = [_sentence(rng, book, language, held) for _ in range(count)]
    text = ("" if language == "zh" else " ").join(sentence.text for sentence in sentences)
    asked = rng.sample(sentences, min(count, rng.choice((1, 1, 1, 2, 3))))
    questions = [_question(rng, rng.choice(one.questions), language) for one in asked]
    answers = [one.text for one in asked]
    if rng.random() < 0.1:
        questions[-1] = _question(rng, rng.choice(_sentence(rng, book, language, held).questions), language)
        answers[-1] = book.passages.missing[language]
    return _arranged(rng, book, language, held, text, list(zip(questions, answers, strict=True)))


def _arranged(
    rng: Random, book: Book, language: Language, held: bool, text: str, asked: list[tuple[str, str]]
) -> Conversation:
    passages = book.passages
    turns = [_turn(language, question, answer) for question, answer in asked]
    where = rng.random()
    if where < 0.15:
        return Conversation(text, tuple(turns))
    if where < 0.3:
        given = passages.give[language].pick(rng, held).replace("{s}", text)
        read = passages.read[language]
        return Conversation(None, (Turn("passage read", language, given, read, (read,)), *turns))
    frame = passages.ask[language].pick(rng, held).replace("\\n", "\n")
    first = frame.replace("{s}", text).replace("{q}", asked[0][0])
    return Conversation(None, (_turn(language, first, asked[0][1]), *turns[1:]))


def _turn(language: Language, question: str, answer: str) -> Turn:
    return Turn("passage", language, question, answer, (answer,))


def _question(rng: Random, question: str, language: Language) -> str:
    if language == "zh":
        return question + rng.choice(("？", "？", "", "?"))
    question = question[0].upper() + question[1:] if rng.random() < 0.6 else question
    return question + rng.choice(("?", "?", "?", ""))


def _sentence(rng: Random, book: Book, language: Language, held: bool) -> _Sentence:
    return (_related if rng.random() < 0.5 else _event)(rng, book, language, held)


def _related(rng: Random, book: Book, language: Language, held: bool) -> _Sentence:
    """A sentence of a relation, and up to three questions that it answers."""
    relation = rng.choice(book.passages.relations)
    statement = rng.choice(relation.say[language])
    values: dict[str, str] = {}

    def fill(match: re.Match[str]) -> str:
        values[match[1]] = value(match[2], rng, book, language, held)
        return values[match[1]]

    text = _NAMED.sub(fill, statement)
    questions: list[str] = []
    for _ in range(60):
        ask = relation.ask[language].pick(rng, held)
        if _fits(ask, statement, relation.same[language], values):
            for letter, filled in values.items():
                ask = ask.replace(f"{{{letter}}}", filled)
            questions.append(ask)
        if len(questions) == 3:
            break
    return _Sentence(text, tuple(questions)) if questions else _sentence(rng, book, language, held)


def _fits(ask: str, statement: str, same: tuple[str, ...], values: Mapping[str, str]) -> bool:
    slots = set(re.findall(r"\{(\w)\}", ask))
    return slots <= values.keys() and all(word in statement for word in same if word in ask)


def _event(rng: Random, book: Book, language: Language, held: bool) -> _Sentence:
    """Somebody did something, somewhere, sometime."""
    verbs = book.passages.verbs[language]
    side = [verb for verb in verbs if (bucket(verb, 8) == 0) == held]
    verb = rng.choice(side) if rng.random() < 0.85 else _made_up_verb(rng, language)
    who, what = name(rng, book, language, held), thing(rng, book, language, held)
    where = place(rng, book, language, held) if rng.random() < 0.5 else None
    when = _day(rng, language) if rng.random() < 0.4 else None
    kinds = ["who", "what", *(["where"] if where else []), *(["when"] if when else [])]
    base, _, past = verb.partition(" ")
    slots = {"{n}": who, "{o}": what, "{v}": verb, "{base}": base, "{past}": past}
    questions = []
    for kind in kinds:
        question = book.passages.event[kind][language].pick(rng, held)
        for slot, filled in slots.items():
            question = question.replace(slot, filled)
        questions.append(question)
    if language == "zh":
        text = f"{who}{when or ''}{f'在{where}' if where else ''}{verb}了{what}。"
    else:
        text = f"{who} {past} {rng.choice(('the', 'the', 'a'))} {what}"
        text += (f" in {where}" if where else "") + (f" {when}" if when else "") + "."
    return _Sentence(text, tuple(questions))


def _made_up_verb(rng: Random, language: Language) -> str:
    if language == "zh":
        return made_up_word(rng, "zh")
    base = syllables(rng)
    return f"{base} {base}{'d' if base.endswith('e') else 'ed'}"


def _day(rng: Random, language: Language) -> str:
    if language == "zh":
        return rng.choice((*WEEKDAYS["zh"], "昨天", "去年", date(rng, "zh")))
    return rng.choice(
        (f"on {rng.choice(WEEKDAYS['en'])}", "yesterday", "last year", f"at {clock(rng)}", f"on {date(rng)}")
    )
