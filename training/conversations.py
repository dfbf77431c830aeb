"""Conversations made by a program: what a user may say and what cria answers, from the book and a random generator.

`held=False` draws from the phrasings of training, `held=True` from those kept apart. Small talk and questions about
Puna are made here; the skills (memory, passages, tools, schemas) have modules of their own. It knows neither tokens
nor the model.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from functools import cache, partial
from random import Random
from typing import Any, Literal

from training.book import Book, Fact, Intent
from training.copying import repeat
from training.grammar import LANGUAGES, Language, Phrases, normal
from training.material import HERE
from training.memory import last_words, memory
from training.noise import untidy
from training.passages import passage
from training.schemas import schema
from training.sums import drill, sums, too_hard
from training.tools import tools
from training.turns import Call, Check, Conversation, Turn, dumps
from training.values import gibberish, made_up_word

Tier = Literal["frame", "wording", "both"]
TIERS: tuple[Tier, ...] = ("frame", "wording", "both")  # what of "frame + wording" is held out
LONG_CONVERSATION = 90  # turns
# How often a group of small talk is chosen, against 1 for the others.
WEIGHTS = {"greeting": 6, "identity": 3, "limits": 3, "size": 3, "languages": 3}
_YES_OR_NO = re.compile("^(Yes|No|是的|不是|不会|会)[,，] ?")  # the rest of the answer says it all
_SLOT = re.compile(r"\{(\w+)\}")


@cache
def hand_questions() -> Mapping[Language, tuple[tuple[str, str], ...]]:
    """The hand-typed questions and what their answers must hold."""
    table = tomllib.loads((HERE / "hand.toml").read_text(encoding="utf-8"))
    return {lang: tuple((question, key) for question, key in table[lang]) for lang in LANGUAGES}


@cache
def hand_conversations() -> tuple[Conversation, ...]:
    """The hand-typed conversations of the skills."""
    tables = tomllib.loads((HERE / "hand_skills.toml").read_text(encoding="utf-8"))
    return tuple(_hand_conversation(table) for table in tables["talk"])


def _hand_conversation(table: Mapping[str, Any]) -> Conversation:
    """One of hand_skills.toml: what was said before, the question, and what the answer must be."""
    language, task, before = table["lang"], table["task"], table.get("before", [])
    turns = [_hand_turn(language, asked, said) for asked, said in zip(before[::2], before[1::2], strict=True)]
    calls = tuple(Call(name, arguments) for name, arguments in table.get("calls", []))
    json_answer = dumps(table["json"]) if "json" in table else ""
    check: Check = "calls" if calls else "json" if json_answer else "holds"
    last = Turn(
        task, language, table.get("ask", ""), json_answer or table.get("holds", ""), (table.get("holds", ""),),
        results=tuple(table.get("results", ())), calls=calls, check=check,
    )  # fmt: skip
    return Conversation(table.get("system"), (*turns, last), tuple(json.loads(tool) for tool in table.get("tools", ())))


def _hand_turn(language: Language, asked: str, said: Any) -> Turn:
    calls = () if isinstance(said, str) else tuple(Call(name, arguments) for name, arguments in said)
    return Turn("before", language, asked, "" if calls else said, calls=calls)


@cache
def _reserved() -> frozenset[str]:
    alone = {talk.turns[0].question for talk in hand_conversations() if len(talk.turns) == 1 and not talk.tools}
    return frozenset(map(normal, alone | {question for pairs in hand_questions().values() for question, _ in pairs}))


# ---- slots


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
    small_talk: 0.34,
    fact: 0.27,
    missing: 0.05,
    unknown_name: 0.02,
    off_topic: 0.1,
    wish_off_topic: 0.04,
    sums: 0.12,
    too_hard: 0.02,
    repeat: 0.04,
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


def chat(rng: Random, book: Book, language: Language, held: bool, count: int | None = None) -> Conversation:
    """Turns that do not depend on one another; mostly one."""
    turns: list[Turn] = []
    for _ in range(count or rng.choices((1, 2, 3, 4, 5), (62, 17, 11, 6, 4))[0]):
        other = LANGUAGES[language == "en"]
        turns.append(turn(rng, book, other if turns and rng.random() < 0.12 else language, held))
    return Conversation(None, tuple(turns))


def remembering(rng: Random, book: Book, language: Language, held: bool) -> Conversation:
    """Something told, and asked for later; or the user's last words."""
    maker = last_words if rng.random() < 0.12 else memory
    return Conversation(None, tuple(maker(rng, book, language, held, partial(turn, rng, book, language))))


def calling(rng: Random, book: Book, language: Language, held: bool) -> Conversation:
    """A conversation with tools."""
    return tools(rng, book, language, held, partial(turn, rng, book, language))


def filling(rng: Random, book: Book, language: Language, held: bool) -> Conversation:
    """A text to be put into JSON."""
    return schema(rng, book, language, held, partial(turn, rng, book, language, held))


Skill = Callable[[Random, Book, Language, bool], Conversation]
SKILLS: dict[Skill, float] = {
    chat: 0.5, remembering: 0.1, passage: 0.1, calling: 0.19, filling: 0.07, drill: 0.04
}  # fmt: skip


def conversation(rng: Random, book: Book, *, long: bool = False) -> Conversation:
    """A conversation of training, at times with a system prompt; or a `long` one, to be cut where it is too long."""
    while True:
        language = rng.choice(LANGUAGES)
        if long:
            made = long_conversation(rng, book, language)
        else:
            made = rng.choices(list(SKILLS), list(SKILLS.values()))[0](rng, book, language, False)
        if made.system is None and rng.random() < 0.25:
            made = Conversation(system_prompt(rng, book, language), made.turns, made.tools)
        if not _reserved() & {normal(one.question) for one in made.turns}:
            return made


def long_conversation(rng: Random, book: Book, language: Language) -> Conversation:
    """Many turns of all kinds, with tools or not; what is told at the start is asked for again at any later time."""
    told = memory(rng, book, language, False, partial(turn, rng, book, language))
    tells = [one for one in told if one.task == "memory told"]
    asks = [one for one in told if one.task == "memory"]
    with_tools = tools(rng, book, language, False, partial(turn, rng, book, language), long=rng.random() < 0.5)
    offered: tuple[Mapping[str, Any], ...] = with_tools.tools if rng.random() < 0.6 else ()
    parts: list[tuple[Turn, ...]] = [(ask,) for ask in asks for _ in range(3)]
    parts += _exchanges(with_tools.turns) if offered else []
    while len(parts) < LONG_CONVERSATION:
        maker = chat if offered else rng.choices((chat, passage, filling), (60, 25, 15))[0]
        made = maker(rng, book, language, False)
        if not offered or made.turns[0].task in ("how", "what", "greeting", "identity", "smalltalk", "repeat"):
            parts += [] if made.system else [made.turns]
    rng.shuffle(parts)
    return Conversation(None, (*tells, *(one for part in parts for one in part)), offered)


def _exchanges(turns: tuple[Turn, ...]) -> list[tuple[Turn, ...]]:
    """Turns with the results that belong to them."""
    parts: list[tuple[Turn, ...]] = []
    for one in turns:
        if one.results:
            parts[-1] = (*parts[-1], one)
        else:
            parts.append((one,))
    return parts
