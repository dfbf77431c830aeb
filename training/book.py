"""All that cria is taught, read from the data files beside this module: facts, small talk, frames, off-topic questions.

It knows the files' layout; how a conversation is made of it is `conversations`' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training import material
from training.grammar import LANGUAGES, Language, Phrases, bucket, expand
from training.material import phrases, toml

WORD_KINDS = ("thing", "place", "person", "subject", "like", "act", "verb")

# How a fact is told: by kind and language.
_COMMAND: Mapping[Language, str] = {"en": "Use `{name}`: it {does}.", "zh": "使用 `{name}`，它{does}。"}
TELL: Mapping[str, Mapping[Language, str]] = {
    "command": _COMMAND,
    "option": _COMMAND,
    "server": _COMMAND,
    "install": _COMMAND,
    "chat": {"en": "Type `{name}` in the chat: it {does}.", "zh": "在聊天里输入 `{name}`，它{does}。"},
    "variable": {"en": "The variable `{name}` {does}.", "zh": "变量 `{name}` {does}。"},
    "python": {"en": "In Python, use `{name}`: it {does}.", "zh": "在 Python 里用 `{name}`，它{does}。"},
    "missing": {"en": "Not yet: Puna cannot {does} so far.", "zh": "还没有：Puna 目前不能{does}。"},
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that exists in Puna, or (`kind` "missing") that people look for and that does not exist yet."""

    name: str
    kind: str
    does: Mapping[Language, str]
    asked: Mapping[Language, tuple[str, ...]]  # names under which people ask what it does
    wish: Mapping[Language, Phrases]  # verb phrases: "start the server"
    ask: Mapping[Language, Phrases]  # whole questions: "which port does the server use"
    noun: Mapping[Language, Phrases]  # noun phrases: "the number of threads"

    def answer(self, language: Language) -> str:
        """What cria says about it."""
        return TELL[self.kind][language].format(name=self.name, does=self.does[language])


@dataclass(frozen=True, slots=True)
class Intent:
    """Something that people say, in many wordings, to which there is one answer."""

    name: str
    group: str
    answer: Mapping[Language, str]
    phrases: Mapping[Language, Phrases]


@dataclass(frozen=True, slots=True)
class Words:
    """Words that fill a slot; some are held out."""

    trained: tuple[str, ...]
    held: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Book:
    """Everything."""

    facts: tuple[Fact, ...]
    missing: tuple[Fact, ...]
    smalltalk: tuple[Intent, ...]
    offtopic: tuple[Intent, ...]
    words: Mapping[Language, Mapping[str, Words]]
    frames: Mapping[str, Mapping[Language, Phrases]]
    unknown_name: Mapping[Language, str]
    systems: Mapping[Language, tuple[str, ...]]
    memories: tuple[material.Memory, ...]
    last_words: material.LastWords
    passages: material.Passages
    sums: material.Sums
    repeat: Mapping[Language, Phrases]
    tools: material.Toolbox
    schemas: material.Schemas


def load() -> Book:
    """The book as the data files have it."""
    facts, talk = toml("facts.toml"), toml("phrases/smalltalk.toml")
    off, frames = toml("phrases/offtopic.toml"), toml("phrases/frames.toml")
    systems = toml("phrases/systems.toml")
    words = off.pop("words")
    intents = [_intent(name, {"group": "unknown", **d}) for name, d in (talk | off).items()]
    named = {intent.name: intent for intent in intents}
    unknown_name = frames.pop("unknown_name")["answer"]
    return Book(
        facts=tuple(_fact(d) for d in facts["fact"]),
        missing=tuple(_fact({"name": d["asked"][0], "kind": "missing", **d}) for d in facts["missing"]),
        smalltalk=tuple(named[name] for name in talk),
        offtopic=tuple(named[name] for name in off),
        words={lang: {kind: _words(words[lang][kind]) for kind in WORD_KINDS} for lang in LANGUAGES},
        frames={name: phrases(d, f"frame {name}") for name, d in frames.items()},
        unknown_name=unknown_name,
        systems={lang: tuple(p for line in systems[lang].split("\n") for p in expand(line) if p) for lang in LANGUAGES},
        memories=material.memories(),
        last_words=material.last_words(),
        passages=material.passages(),
        sums=material.sums(),
        repeat=phrases(toml("phrases/repeat.toml"), "repeat"),
        tools=material.toolbox(),
        schemas=material.schemas(),
    )


def _fact(d: Mapping[str, Any]) -> Fact:
    name = d["name"]
    asked = {"en": tuple(d["asked"]), "zh": tuple(d.get("asked_zh", d["asked"]))}
    parts = {part: phrases(d.get(part, {}), f"{name} {part}") for part in ("wish", "ask", "noun")}
    return Fact(name=name, kind=d["kind"], does=d["does"], asked={lang: asked[lang] for lang in LANGUAGES}, **parts)


def _intent(name: str, d: Mapping[str, Any]) -> Intent:
    return Intent(name=name, group=d.get("group", name), answer=d["answer"], phrases=phrases(d, name))


def _words(text: str) -> Words:
    """Words apart by ";" where they hold blanks, else by blanks; one in eight is held out."""
    words = [w.strip() for w in (text.replace("\n", " ").split(";") if ";" in text else text.split())]
    held = tuple(w for w in words if w and bucket(w, 8) == 0)
    return Words(trained=tuple(w for w in words if w and w not in held), held=held or tuple(words))
