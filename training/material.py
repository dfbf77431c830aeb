"""What the skills are made of, read from phrases/: memory, passages, sums, repeating, tools, schemas.

It knows the files' layout; how turns are made of it is the business of the modules of those names.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from training.grammar import LANGUAGES, Language, Phrases, bucket, expand, read

HERE = Path(__file__).parent
Words = Mapping[Language, tuple[tuple[str, Any], ...]]  # how a value is said, and what JSON holds
_OWN_WORDS = ("bool_stock", "sentiment")


@dataclass(frozen=True, slots=True)
class Memory:
    """A kind of thing to remember; `nouns` (noun, kind of value) fill {k}, and one in eight of them is held out."""

    name: str
    say: Mapping[Language, Phrases]
    ask: Mapping[Language, Phrases]
    reply: Mapping[Language, str]
    answer: Mapping[Language, str]
    unknown: Mapping[Language, str]  # when it was never told
    nouns: Mapping[Language, tuple[tuple[str, str], ...]]

    def noun(self, rng: Random, language: Language, held: bool) -> tuple[str, str]:
        """One of the nouns and the kind of its values."""
        nouns = self.nouns[language]
        side = [noun for noun in nouns if (bucket(noun[0], 8) == 0) == held]
        return rng.choice(side or nouns)


@dataclass(frozen=True, slots=True)
class LastWords:
    """How the user asks for what he just said, and the answer."""

    answer: Mapping[Language, str]
    ask: Mapping[Language, Phrases]


@dataclass(frozen=True, slots=True)
class Sums:
    """Phrases by kind (plus, minus, other), and the answer to what is too hard."""

    phrases: Mapping[str, Mapping[Language, Phrases]]
    too_hard: Mapping[Language, str]


@dataclass(frozen=True, slots=True)
class Relation:
    """Ways to say something and to ask for it; a question holds no word of `same` that its sentence lacks."""

    name: str
    say: Mapping[Language, tuple[str, ...]]
    ask: Mapping[Language, Phrases]
    same: Mapping[Language, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Passages:
    """All that texts and questions are made of."""

    relations: tuple[Relation, ...]
    verbs: Mapping[Language, tuple[str, ...]]  # "buy bought" or 买
    event: Mapping[str, Mapping[Language, Phrases]]  # by kind of question
    ask: Mapping[Language, Phrases]  # a text and a question in one message: {s} {q}
    give: Mapping[Language, Phrases]  # a text alone
    missing: Mapping[Language, str]
    read: Mapping[Language, str]


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of an action: the names it may have, its kind of values, and their words where they are few."""

    names: tuple[str, ...]
    kind: str
    optional: bool = False
    words: Words | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """A tool of everyday programs."""

    topic: str
    names: tuple[str, ...]
    params: tuple[Param, ...]
    about: Mapping[Language, tuple[str, ...]]
    ask: Mapping[Language, Phrases]
    clash: frozenset[str]


@dataclass(frozen=True, slots=True)
class Lookup:
    """What tools of the kind "tell me the {n} of a {v}" are made of."""

    nouns: tuple[tuple[str, str], ...]  # English, Chinese
    keys: tuple[tuple[str, str, str], ...]  # English, Chinese, kind
    verbs: tuple[str, ...]
    ask: Mapping[Language, Phrases]
    about: Mapping[Language, Phrases]
    also: Mapping[Language, Phrases]
    param: Mapping[Language, Phrases]


@dataclass(frozen=True, slots=True)
class Direct:
    """What is said to call a tool by its name."""

    ask: Mapping[Language, Phrases]
    value: Mapping[Language, Phrases]
    empty: Mapping[Language, Phrases]
    about: Mapping[Language, Phrases]
    tail: Mapping[Language, tuple[str, ...]]
    joint: Mapping[Language, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Toolbox:
    """All that tools are made of."""

    lookup: Lookup
    direct: Direct
    actions: tuple[Action, ...]
    answer: Mapping[str, Mapping[Language, str]]
    errors: tuple[str, ...]
    sentences: Mapping[Language, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter as one tool of one conversation has it."""

    name: str
    kind: str
    label: str  # as a question names it
    words: Words | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """A kind of text that holds values, and the fields that they fill."""

    title: str
    fields: tuple[Param, ...]
    texts: Mapping[Language, Phrases]


@dataclass(frozen=True, slots=True)
class Jokes:
    """Jokes of a setup and a punchline."""

    ask: Mapping[Language, Phrases]
    setup: Mapping[Language, tuple[str, ...]]
    punchline: Mapping[Language, tuple[str, ...]]
    setups: tuple[str, ...]  # names of the field
    punchlines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Questions whose answers cria does not know, and the word that it fills in."""

    ask: Mapping[Language, Phrases]
    word: Mapping[Language, str]


@dataclass(frozen=True, slots=True)
class Schemas:
    """All that texts for JSON are made of, and how the prompt tells the schema: whole, by its keys, or not."""

    records: tuple[Record, ...]
    with_schema: Mapping[Language, Phrases]
    with_keys: Mapping[Language, Phrases]
    alone: Mapping[Language, Phrases]
    free: Mapping[Language, Phrases]  # JSON without keys
    joke: Jokes
    unknown: Unknown
    reply_names: tuple[str, ...]


# ---- reading


def toml(name: str) -> dict[str, Any]:
    """One of the data files."""
    return tomllib.loads((HERE / name).read_text(encoding="utf-8"))


def phrases(table: Mapping[str, str], scope: str) -> dict[Language, Phrases]:
    """Both languages' phrases."""
    return {lang: read(table.get(lang, ""), f"{scope} {lang}") for lang in LANGUAGES}


def _choices(table: Mapping[str, str]) -> dict[Language, tuple[str, ...]]:
    """Texts apart by "|" in both languages."""
    return {lang: tuple(table[lang].split("|")) for lang in LANGUAGES}


def memories() -> tuple[Memory, ...]:
    """The kinds of things to remember, the one of many nouns first."""
    tables = toml("phrases/memory.toml")
    tables.pop("last")
    common = tables["any"]
    return tuple(_memory(name, table, common) for name, table in tables.items())


def _memory(name: str, table: Mapping[str, Any], common: Mapping[str, Any]) -> Memory:
    def nouns(language: Language) -> tuple[tuple[str, str], ...]:
        if "nouns" not in table:
            return ((table["noun"][language], table["value"]),)
        pairs = (pair.split(":") for pair in table["nouns"][language].split(";"))
        return tuple((noun, kind) for noun, kind in pairs)

    return Memory(
        name=name,
        say=phrases(table["say"], f"memory {name} say"),
        ask=phrases(table["ask"], f"memory {name} ask"),
        reply=table["reply"],
        answer=table["answer"],
        unknown=common["unknown"],
        nouns={lang: nouns(lang) for lang in LANGUAGES},
    )


def last_words() -> LastWords:
    """What is said about the user's own last words."""
    table = toml("phrases/memory.toml")["last"]
    return LastWords(table["answer"], phrases(table["ask"], "last words"))


def passages() -> Passages:
    """Everything for passages."""
    tables = toml("phrases/passages.toml")
    event, frame = tables["event"], tables["frame"]
    return Passages(
        relations=tuple(_relation(name, table) for name, table in tables["relation"].items()),
        verbs={lang: tuple(event["verbs"][lang].split(";")) for lang in LANGUAGES},
        event={kind: phrases(event[kind], f"event {kind}") for kind in ("who", "what", "where", "when")},
        ask=phrases(frame["ask"], "passage ask"),
        give=phrases(frame["give"], "passage give"),
        missing=frame["missing"],
        read=frame["read"],
    )


def _relation(name: str, table: Mapping[str, Any]) -> Relation:
    same = table.get("same", {"en": "", "zh": ""})
    return Relation(
        name=name,
        say={lang: expand(table["say"][lang]) for lang in LANGUAGES},
        ask=phrases(table["ask"], f"relation {name}"),
        same={lang: tuple(filter(None, same[lang].split("|"))) for lang in LANGUAGES},
    )


def sums() -> Sums:
    """Everything for sums."""
    tables = toml("phrases/sums.toml")
    kinds = {kind: phrases(table, f"sums {kind}") for kind, table in tables.items()}
    return Sums(kinds, tables["other"]["answer"])


def toolbox() -> Toolbox:
    """Everything for tools."""
    tables = toml("phrases/tools.toml")
    lookup, direct, answer = tables["lookup"], tables["direct"], tables["answer"]
    return Toolbox(
        lookup=Lookup(
            nouns=tuple(_pair(pair) for pair in lookup["nouns"].split(";")),
            keys=tuple((en, zh, kind) for en, zh, kind in (key.split(":") for key in lookup["keys"].split(";"))),
            verbs=tuple(lookup["verbs"].split()),
            **{part: phrases(lookup[part], f"lookup {part}") for part in ("ask", "about", "also", "param")},
        ),
        direct=Direct(
            **{part: phrases(direct[part], f"direct {part}") for part in ("ask", "value", "empty", "about")},
            tail=_choices(direct["tail"]),
            joint=_choices(direct["joint"]),
        ),
        actions=tuple(_action(name, table) for name, table in tables["action"].items()),
        answer={name: answer[name] for name in ("one", "many", "failed", "done")},
        errors=tuple(answer["errors"].split("|")),
        sentences=_choices(answer["sentences"]),
    )


def _pair(text: str) -> tuple[str, str]:
    first, second = text.split(":")
    return first, second


def _action(name: str, table: Mapping[str, Any]) -> Action:
    return Action(
        topic=table["topic"],
        names=tuple(table["names"].split("|")),
        params=params(table["params"], table.get("words", {})),
        about=_choices(table["about"]),
        ask=phrases(table["ask"], f"action {name}"),
        clash=frozenset(filter(None, table.get("clash", "").split(";"))),
    )


def params(spec: str, words: Mapping[str, Any]) -> tuple[Param, ...]:
    """Parameters from "name|other name?=kind; ...", and the words of kinds that have only a few."""
    return tuple(_param(part, words) for part in filter(None, map(str.strip, spec.split(";"))))


def _param(text: str, words: Mapping[str, Any]) -> Param:
    names, kind = text.split("=")
    own: Words | None = None
    if kind.startswith("enum:"):
        values = kind.removeprefix("enum:").split(",")
        own = {
            lang: tuple(zip(words.get(lang, ",".join(values)).split(","), values, strict=True)) for lang in LANGUAGES
        }
    elif kind in _OWN_WORDS:
        own = {lang: tuple(_word(pair) for pair in words[kind][lang].split(";")) for lang in LANGUAGES}
    return Param(tuple(names.removesuffix("?").split("|")), kind, names.endswith("?"), own)


def _word(pair: str) -> tuple[str, object]:
    word, value = pair.split("=")
    return word, {"true": True, "false": False}.get(value, value)


def schemas() -> Schemas:
    """Everything for JSON schemas."""
    tables = toml("phrases/schemas.toml")
    ask, joke = tables["ask"], tables["joke"]
    return Schemas(
        records=tuple(
            Record(r["title"], params(r["fields"], tables["words"]), phrases(r, f"record {r['title']}"))
            for r in tables["record"]
        ),
        **{part: phrases(ask[part], f"schema {part}") for part in ("with_schema", "with_keys", "alone", "free")},
        joke=Jokes(
            ask=phrases(joke["ask"], "joke ask"),
            setup=_choices(joke["setup"]),
            punchline=_choices(joke["punchline"]),
            setups=tuple(joke["setups"].split("|")),
            punchlines=tuple(joke["punchlines"].split("|")),
        ),
        unknown=Unknown(phrases(tables["unknown"]["ask"], "schema unknown"), tables["unknown"]["word"]),
        reply_names=tuple(tables["reply"]["names"].split("|")),
    )
