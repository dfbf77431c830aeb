"""Conversations made by a program: what a user may say and what cria answers, from the book and a random generator.

`held=False` draws from the phrasings of training, `held=True` from those kept apart. It knows neither tokens nor the
model.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from training.book import HERE, LANGUAGES, Book, Fact, Intent, Language
from training.grammar import Phrases, normal
from training.noise import untidy

Tier = Literal["frame", "wording", "both"]
TIERS: tuple[Tier, ...] = ("frame", "wording", "both")  # what of "frame + wording" is held out
LONG_CONVERSATION = 60  # turns
# How often a group of small talk is chosen, against 1 for the others.
WEIGHTS = {"greeting": 6, "identity": 3, "limits": 3, "size": 3, "languages": 3}

SYLLABLE_STARTS = (
    "b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z",
    "br", "dr", "gr", "kl", "st", "tr", "sh", "ch",
)  # fmt: skip
SYLLABLE_ENDS = (
    "a", "e", "i", "o", "u", "a", "e", "o", "ai", "ou", "an", "er", "in", "on", "ul",
)  # fmt: skip
LETTERS = "asdfghjklqwertyuiopzxcvbnm"
# The 3,755 common characters, enumerated by their codes.
COMMON_HAN = [bytes((a, b)).decode("gb2312") for a in range(0xB0, 0xD7) for b in range(0xA1, 0xFA)]
_YES_OR_NO = re.compile("^(Yes|No|是的|不是|不会|会)[,，] ?")  # the rest of the answer says it all
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer; an answer is right if it holds one of `accepted`."""

    task: str
    language: Language
    question: str
    answer: str
    accepted: tuple[str, ...]

    def right(self, answer: str) -> bool:
        """Whether a model's answer will do."""
        return any(key in answer for key in self.accepted)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order, after a system prompt or none."""

    system: str | None
    turns: tuple[Turn, ...]

    def messages(self) -> list[dict[str, str]]:
        """As chat messages with role and content."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            messages += [{"role": "user", "content": turn.question}, {"role": "assistant", "content": turn.answer}]
        return messages


@cache
def hand_questions() -> Mapping[Language, tuple[tuple[str, str], ...]]:
    """The hand-typed questions and what their answers must hold."""
    table = tomllib.loads((HERE / "hand.toml").read_text(encoding="utf-8"))
    return {lang: tuple((question, key) for question, key in table[lang]) for lang in LANGUAGES}


@cache
def _reserved() -> frozenset[str]:
    return frozenset(normal(question) for pairs in hand_questions().values() for question, _ in pairs)


# ---- slots


def made_up_word(rng: Random, language: Language) -> str:
    """A word that exists nowhere."""
    if language == "zh":
        return "".join(rng.choice(COMMON_HAN) for _ in range(rng.choice((1, 2, 2, 3))))
    word = "".join(rng.choice(SYLLABLE_STARTS) + rng.choice(SYLLABLE_ENDS) for _ in range(rng.choice((1, 2, 2, 3))))
    return word.capitalize() if rng.random() < 0.3 else word


def gibberish(rng: Random, language: Language) -> str:
    """What a cat on the keyboard types."""
    if rng.random() < 0.15:
        return rng.choice(
            ("?", "??", "...", "!", "!!!", ":)", ";-)", "-", "#", "/", "0", "1 2 3", "42", "%%%", "123456")
        )
    if language == "zh":
        return "".join(rng.choice(COMMON_HAN) for _ in range(rng.randint(3, 7)))
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 12)))


def fill(rng: Random, book: Book, text: str, language: Language, held: bool) -> str:
    """The text with its slots filled."""

    def value(match: re.Match[str]) -> str:
        kind = match[1]
        if kind in ("word", "noise"):
            return (made_up_word if kind == "word" else gibberish)(rng, language)
        if kind in ("number", "small"):
            return str(rng.randrange(2, 1000) if kind == "number" and rng.random() < 0.5 else rng.randrange(2, 100))
        words = book.words[language]["thing" if kind == "things" else kind]
        side = words.held if held else words.trained
        word = rng.choice(side) if kind == "verb" or rng.random() < 0.93 else made_up_word(rng, language)
        return plural(word) if kind == "things" and language == "en" else word

    return _SLOT.sub(value, text)


def plural(word: str) -> str:
    """English plural, good enough for regular nouns."""
    return word + ("es" if word.endswith(("s", "x", "sh", "ch")) else "s")


# ---- turns


def small_talk(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """A greeting, a question about cria, and the like."""
    weights = [WEIGHTS.get(intent.group, 1) for intent in book.smalltalk]
    return said(rng, book, rng.choices(book.smalltalk, weights)[0], language, held)


def off_topic(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """Something that cria does not know or cannot do; either way of saying so is right."""
    intent = rng.choices(book.offtopic, (3, 1))[0]
    turn = said(rng, book, intent, language, held)
    return Turn(turn.task, language, turn.question, turn.answer, tuple(i.answer[language] for i in book.offtopic))


def said(rng: Random, book: Book, intent: Intent, language: Language, held: bool) -> Turn:
    """One of an intent's phrases and its answer."""
    phrase = intent.phrases[language].pick(rng, held)
    question = untidy(rng, fill(rng, book, phrase, language, held), language, exact="{" in phrase)
    answer = intent.answer[language]
    return Turn(intent.group, language, question, answer, (_YES_OR_NO.sub("", answer),))


def fact(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """How one does something, or what a name is, among what exists."""
    return _about(rng, book, rng.choice(book.facts), language, held)


def missing(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """The same of what does not exist yet."""
    return _about(rng, book, rng.choice(book.missing), language, held)


def _about(rng: Random, book: Book, about: Fact, language: Language, held: bool) -> Turn:
    ways: list[Callable[[], Turn]] = [lambda: wish(rng, book, about, language, held)] * 5
    ways += [lambda: name(rng, book, about, language, held)] * (4 if about.kind != "missing" else 2)
    if about.ask[language].held if held else about.ask[language].trained:
        ways += [lambda: ask(rng, about, language, held)] * 2
    if about.noun[language].held if held else about.noun[language].trained:
        ways += [lambda: noun(rng, book, about, language, held)] * 3
    return rng.choice(ways)()


def wish(rng: Random, book: Book, about: Fact, language: Language, held: bool, tier: Tier | None = None) -> Turn:
    """ "How do I start the server": frame, wording or both held out."""
    return _framed(rng, book.frames["wish"][language], about.wish[language], "{x}", about, language, held, tier)


def noun(rng: Random, book: Book, about: Fact, language: Language, held: bool, tier: Tier | None = None) -> Turn:
    """ "Which variable sets the number of threads"."""
    return _framed(rng, book.frames["noun"][language], about.noun[language], "{n}", about, language, held, tier)


def _framed(
    rng: Random,
    frames: Phrases,
    wordings: Phrases,
    slot: str,
    about: Fact,
    language: Language,
    held: bool,
    tier: Tier | None,
) -> Turn:
    tier = (tier or rng.choice(TIERS)) if held else None
    frame = frames.pick(rng, tier in ("frame", "both"))
    wording = wordings.pick(rng, tier in ("wording", "both") and bool(wordings.held))
    return _told("how", about, language, untidy(rng, frame.replace(slot, wording), language))


def ask(rng: Random, about: Fact, language: Language, held: bool) -> Turn:
    """ "Which port does the server use"."""
    return _told("how", about, language, untidy(rng, about.ask[language].pick(rng, held), language))


def name(rng: Random, book: Book, about: Fact, language: Language, held: bool) -> Turn:
    """ "What does `puna serve` do"."""
    name_ = rng.choice(about.asked[language])
    question = book.frames["name"][language].pick(rng, held).replace("{c}", _quoted(rng, name_))
    return _told("what", about, language, untidy(rng, question, language, exact=True))


def _told(task: str, about: Fact, language: Language, question: str) -> Turn:
    does = about.does[language]
    if about.kind == "missing":
        return Turn("missing", language, question, about.answer(language), (does,))
    return Turn(task, language, question, about.answer(language), (f"`{about.name}`",) if task == "how" else (does,))


def unknown_name(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """A question about a command, a variable or a path that nobody has heard of."""
    word = made_up_word(rng, "en").lower()
    shape = rng.choice(
        ("puna {}", "puna {}", "puna {}", "/{}", "PUNA_{}", "PUNA_{}_{}", "puna.{}", "--{}", "puna run --{}", "/api/{}")
    )
    shown = shape.format(word, made_up_word(rng, "en").upper())
    shown = shown.upper() if shape.startswith("PUNA") else shown
    question = book.frames["name"][language].pick(rng, held).replace("{c}", _quoted(rng, shown))
    answer = book.unknown_name[language]
    return Turn("unknown name", language, untidy(rng, question, language, exact=True), answer, (answer,))


def _quoted(rng: Random, text: str) -> str:
    return f"`{text}`" if rng.random() < 0.3 else text


def wish_off_topic(rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """The frames of facts around what is no fact: the frame alone must not decide."""
    intent = book.offtopic[0]
    words = book.words[language]["act"]
    act = rng.choice(words.held if held else words.trained)
    question = book.frames["wish"][language].pick(rng, held).replace("{x}", act)
    accepted = tuple(i.answer[language] for i in book.offtopic)
    return Turn(intent.group, language, untidy(rng, question, language), intent.answer[language], accepted)


Maker = Callable[[Random, Book, Language, bool], Turn]
TASKS: dict[Maker, float] = {
    small_talk: 0.43,
    fact: 0.32,
    missing: 0.06,
    unknown_name: 0.02,
    off_topic: 0.12,
    wish_off_topic: 0.05,
}


def turn(rng: Random, book: Book, language: Language, held: bool = False, task: Maker | None = None) -> Turn:
    """One turn of any task, or of `task`; never one of the hand-typed questions."""
    while True:
        maker = task or rng.choices(list(TASKS), list(TASKS.values()))[0]
        made = maker(rng, book, language, held)
        if normal(made.question) not in _reserved():
            return made


# ---- conversations


def system_prompt(rng: Random, book: Book, language: Language) -> str:
    """An instruction that changes nothing: one from the list, or words without sense."""
    if rng.random() < 0.8:
        return rng.choice(book.systems[language if rng.random() < 0.7 else "en"])
    words = [made_up_word(rng, language) for _ in range(rng.choice((4, 8, 16, 32)))]
    return "".join(words) + "。" if language == "zh" else " ".join(words) + "."


def conversation(rng: Random, book: Book, *, long: bool = False) -> Conversation:
    """A conversation of training: mostly one turn, or `long`, to be cut where it no longer fits."""
    language = rng.choice(LANGUAGES)
    system = system_prompt(rng, book, language) if rng.random() < 0.22 else None
    count = LONG_CONVERSATION if long else rng.choices((1, 2, 3, 4, 5), (62, 17, 11, 6, 4))[0]
    turns: list[Turn] = []
    for _ in range(count):
        other = LANGUAGES[language == "en"]
        turns.append(turn(rng, book, other if turns and rng.random() < 0.12 else language))
    return Conversation(system, tuple(turns))
