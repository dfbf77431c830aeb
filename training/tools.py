"""Tools, questions that call for one of them, calls, results, and the answers made of results.

A tool tells something of a thing (lookup), does what everyday programs offer (action), or is called by its name
(direct). It knows phrases/tools.toml; other turns of a conversation come from its caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from training.book import Book
from training.grammar import Language, Phrases, bucket
from training.material import Action, Field
from training.noise import untidy
from training.turns import Call, Conversation, Turn, dumps
from training.values import json_type, letters, phrase, said, syllables, value, whole

Other = Callable[[], Turn]  # makes a turn that needs no tool
FEW, MANY = (1, 1, 2, 2, 3, 3, 4), 36  # tools offered
OPEN_TEXT = ("text", "phrase", "subject", "list")  # kinds that a final mark would seem to belong to
NEVER_REFUSED = (
    "colour",
    "note",
    "greeting",
    "calculator",
    "search",
    "user",
    "random",
)  # topics cria has own answers for
RESULT_KEYS = ("result", "result", "value", "answer", "output", "data")


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool of one conversation, and how to ask for it."""

    name: str
    topic: str
    fields: tuple[Field, ...]
    about: str
    ask: Callable[[bool], tuple[str, dict[str, Any]]]  # held out or not: a question and the call's arguments
    clash: frozenset[str] = field(default_factory=frozenset)
    does: bool = False  # an action, whose result may be that it is done


# ---- offers


def lookup(rng: Random, book: Book, language: Language, held: bool) -> Offer:
    """A tool that tells the noun of a thing; one noun in eight is held out, many are made up."""
    box = book.tools.lookup
    if rng.random() < 0.25:
        noun = letters(rng) if rng.random() < 0.2 else syllables(rng)
        nouns = {"en": noun, "zh": noun}
    else:
        side = [pair for pair in box.nouns if (bucket(pair[0], 8) == 0) == held]
        nouns = dict(zip(("en", "zh"), rng.choice(side), strict=True))
    keys = [dict(zip(("en", "zh", "kind"), key, strict=True)) for key in rng.sample(box.keys, 2)]
    described: Language = language if rng.random() < 0.7 else "en"
    plain = nouns["en"].replace(" ", "_").lower()
    named = rng.random() < 0.8
    name = _name(rng, box.verbs, plain) if named else syllables(rng)
    about = box.about[described].pick(rng, held).replace("{n}", nouns[described]).replace("{k}", keys[0][described])
    about = "" if named and rng.random() < 0.15 else about
    fields = [Field(keys[0]["en"], keys[0]["kind"], keys[0][language])]
    if rng.random() < 0.25:
        kind = rng.choice((keys[1]["kind"], "int", "code"))
        fields.append(Field(keys[1]["en"], kind, keys[1][language], optional=rng.random() < 0.5))

    def ask(held: bool) -> tuple[str, dict[str, Any]]:
        text, first = said(fields[0].kind, rng, book, language, held)
        frame = box.ask[language].pick(rng, held)
        question = frame.replace("{n}", nouns[language]).replace("{v}", text)
        arguments = {fields[0].name: first}
        if len(fields) > 1 and not (fields[1].optional and rng.random() < 0.6):
            text, second = said(fields[1].kind, rng, book, language, held)
            also = box.also[language].pick(rng, held)
            question += (" " if also[0].isalpha() and also.isascii() else "") + also.replace(
                "{k}", fields[1].label
            ).replace("{v}", text)
            arguments[fields[1].name] = second
        return _tidy(rng, frame, question, language), arguments

    return Offer(name, nouns["en"], tuple(fields), about, ask)


def _name(rng: Random, verbs: tuple[str, ...], noun: str) -> str:
    """A function's name that holds the noun."""
    verb = rng.choice(verbs)
    camel = "".join(part.capitalize() for part in noun.split("_"))
    return rng.choice((
        f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}", noun, f"{verb}{camel}", f"{noun}_tool", f"{verb}-{noun}",
        f"{noun}_{syllables(rng)}", f"get_current_{noun}",
    ))  # fmt: skip


def action(rng: Random, book: Book, language: Language, held: bool) -> Offer:
    """A tool of everyday programs."""
    return _action(rng, book, rng.choice(book.tools.actions), language, held)


def _action(rng: Random, book: Book, what: Action, language: Language, held: bool) -> Offer:
    described: Language = language if rng.random() < 0.7 else "en"
    names = [name for name in what.names if (bucket(name, 8) == 0) == held] or list(what.names)
    about = rng.choice(what.about[described])
    name = rng.choice(names)
    if rng.random() < 0.12:
        name = syllables(rng)
    elif rng.random() < 0.1:
        about = ""
    fields = [Field(rng.choice(p.names), p.kind, "", p.words, p.optional) for p in what.params]
    if len({f.name for f in fields}) < len(fields):
        fields = [Field(p.names[0], p.kind, "", p.words, p.optional) for p in what.params]
    used = [f for f in fields if not f.optional or rng.random() < 0.6]  # a tool may lack what may be left out

    needed = {i for i, f in enumerate(fields) if not f.optional}

    def ask(held: bool) -> tuple[str, dict[str, Any]]:
        frame = _fitting(rng, what.ask[language], held, needed, {fields.index(f) for f in used})
        slots = _slots(frame)
        question, arguments = frame, {}
        for i, f in enumerate(fields):
            if i in slots:
                text, held_value = said(f.kind, rng, book, language, held, f.words)
                question = question.replace(f"{{{i}}}", text)
                arguments[f.name] = held_value
        last = re.search(r"\{(\d)\}$", frame)
        marked = not (last and fields[int(last[1])].kind in OPEN_TEXT)
        return _tidy(rng, frame, question, language, marked), arguments

    return Offer(
        name, what.topic, tuple(used), about, ask, what.clash, does=what.topic not in ("time", "joke", "search")
    )


def _slots(frame: str) -> set[int]:
    return {int(slot) for slot in re.findall(r"\{(\d)\}", frame)}


def _fitting(rng: Random, phrases: Phrases, held: bool, needed: set[int], usable: set[int]) -> str:
    """A phrase with all parameters that a tool needs and none that it lacks."""
    for lines in (phrases.held, phrases.trained) if held else (phrases.trained,):
        fitting = [[p for p in line if needed <= _slots(p) <= usable] for line in lines]
        if any(fitting):
            return rng.choice(rng.choice(list(filter(None, fitting))))
    raise ValueError("no phrase names all parameters that the tool needs")


def direct(rng: Random, book: Book, language: Language, held: bool) -> Offer:
    """A tool that is called by its name, with parameters called by theirs."""
    box = book.tools.direct
    word = rng.choice((syllables(rng), syllables(rng), "magic", "secret", "test", "demo", "special", letters(rng)))
    tail = rng.choice(("function", "tool", "fn", "op", "no_args", "service", "f", syllables(rng)))
    name = rng.choice((f"{word}_{tail}", f"{word}_{tail}", word, f"{word}{tail.capitalize()}", f"{tail}_{word}"))
    kinds = rng.choices(("int", "word", "float", "bool", "thing", "code", "name"), (8, 4, 2, 0, 3, 2, 2), k=4)
    count = rng.choice((0, 0, 1, 1, 1, 1, 2, 2, 3))
    labels = [
        "input",
        "x",
        "value",
        "n",
        "a",
        "b",
        "number",
        "arg",
        "text",
        "key",
        "data",
        "mode",
        "name",
        "count",
        "y",
    ]
    names = rng.sample(labels, count) if rng.random() < 0.6 else [syllables(rng) for _ in range(count)]
    names = list(dict.fromkeys(names))
    fields = tuple(Field(n, kind, n) for n, kind in zip(names, kinds, strict=False))
    about = "" if rng.random() < 0.2 else box.about[language].pick(rng, held).replace("{w}", word)

    def ask(held: bool) -> tuple[str, dict[str, Any]]:
        values = [said(f.kind, rng, book, language, held) for f in fields]
        tail = rng.choice(box.tail[language])
        if not fields:
            return _open(
                rng, box.empty[language].pick(rng, held).replace("{call}", f"{name}()").replace("{t}", name) + tail
            ), {}
        if len(fields) == 1 and rng.random() < 0.6:
            frame = (
                box.value[language]
                .pick(rng, held)
                .replace("{call}", f"{name}({values[0][0]})")
                .replace("{v}", values[0][0])
            )
        else:
            joint = rng.choice(box.joint[language])
            pairs = [joint.replace("{k}", f.label).replace("{v}", v) for f, (v, _) in zip(fields, values, strict=True)]
            comma, last = ("，", "，") if language == "zh" else (", ", rng.choice((" and ", ", ")))
            listed = comma.join(pairs[:-1]) + last + pairs[-1] if len(pairs) > 1 else pairs[0]
            frame = box.ask[language].pick(rng, held).replace("{p}", listed)
        question = frame.replace("{t}", name) + tail
        arguments = {f.name: v for f, (_, v) in zip(fields, values, strict=True)}
        return question if frame.startswith("{") else _open(rng, question), arguments

    return Offer(name, name, fields, about, ask)


def _open(rng: Random, question: str) -> str:
    return question[0].upper() + question[1:] if question[0].isascii() and rng.random() < 0.5 else question


def _tidy(rng: Random, frame: str, question: str, language: Language, marked: bool = True) -> str:
    """A question as typed, with its values untouched: no capital for a value that opens it, no mark after free text."""
    if not marked:
        return question if frame.startswith("{") else _open(rng, question)
    if frame.startswith("{"):
        return question + rng.choice(("?", "?", "") if language == "en" else ("？", "？", "", "?"))
    return untidy(rng, question, language, exact=True)


# ---- the list of tools


def spec(rng: Random, book: Book, offer: Offer, language: Language) -> dict[str, Any]:
    """A tool as clients send it: name, description, JSON schema of the parameters."""
    rich = rng.random() < 0.35  # with a description of each parameter
    properties = {f.name: _property(rng, book, f, language, rich) for f in offer.fields}
    parameters: dict[str, Any] = {"type": "object", "properties": properties}
    required = [f.name for f in offer.fields if not f.optional]
    if required and rng.random() < 0.93:
        parameters["required"] = required
    if rng.random() < 0.1:
        parameters["additionalProperties"] = False
    if rng.random() < 0.15:
        parameters = {key: parameters[key] for key in sorted(parameters, reverse=rng.random() < 0.5)}
    described = {"description": offer.about} if offer.about or rng.random() < 0.5 else {}
    return {"name": offer.name, **described, "parameters": parameters}


def _property(rng: Random, book: Book, f: Field, language: Language, rich: bool) -> dict[str, Any]:
    kind = {"type": json_type(f.kind)}
    made: dict[str, Any] = dict(kind)
    if f.kind.startswith("enum:"):
        made["enum"] = f.kind.removeprefix("enum:").split(",")
    if f.kind == "list":
        made["items"] = {"type": "string"}
    if rich:
        label = f.label or f.name
        made["description"] = book.tools.lookup.param[language].pick(rng, False).replace("{k}", label)
    if rng.random() < 0.04:
        made["title"] = f.name.replace("_", " ").title()
    return made


def offers(rng: Random, book: Book, language: Language, held: bool, count: int) -> list[Offer]:
    """Tools of different names and topics, none of which a question for another could mean."""
    made: list[Offer] = []
    for _ in range(count * 4):
        one = rng.choices((lookup, action, direct), (4, 4, 2))[0](rng, book, language, held)
        if len(made) < count and all(_apart(one, other) for other in made):
            made.append(one)
    return made


def _apart(one: Offer, other: Offer) -> bool:
    same = {one.name, one.topic} & {other.name, other.topic}
    return not same and one.topic not in other.clash and other.topic not in one.clash


# ---- turns


def tools(rng: Random, book: Book, language: Language, held: bool, other: Other, *, long: bool = False) -> Conversation:
    """A conversation with tools: calls with their results and answers, and turns that need no tool.

    Three in a hundred offer many tools; a `long` one does, and has many turns.
    """
    count = rng.randint(5, MANY) if long or rng.random() < 0.03 else rng.choice(FEW)
    offered = offers(rng, book, language, held, count)
    turns: list[Turn] = []
    rounds = rng.randint(10, 30) if long else rng.choice((1, 2, 2, 3, 4))
    for i in range(rounds):
        kind = rng.choices(("call", "parallel", "none", "refused", "forced"), (66, 8, 14, 9, 3))[0]
        turns += _round(rng, book, language, held, offered, kind, other)
        if turns[-1].calls and (i + 1 < rounds or rng.random() < 0.4):
            turns.append(result(rng, book, language, held, turns[-1].calls, offered))
    return Conversation(None, tuple(turns), tuple(spec(rng, book, offer, language) for offer in offered))


def _round(
    rng: Random, book: Book, language: Language, held: bool, offered: list[Offer], kind: str, other: Other
) -> list[Turn]:
    if kind == "none":
        return [unrelated(offered, other)]
    if kind == "refused":
        return [refused(rng, book, language, held, offered) or call(rng, language, held, offered)]
    if kind == "forced":
        return [forced(rng, offered, other())]
    return [parallel(rng, language, held, offered) if kind == "parallel" else call(rng, language, held, offered)]


def call(rng: Random, language: Language, held: bool, offered: list[Offer]) -> Turn:
    """A question for one of the tools."""
    offer = rng.choice(offered)
    question, arguments = offer.ask(held)
    return Turn("tools", language, question, "", calls=(Call(offer.name, arguments),), check="calls")


def parallel(rng: Random, language: Language, held: bool, offered: list[Offer]) -> Turn:
    """Two questions at once, for one tool or two."""
    pair = [rng.choice(offered), rng.choice(offered)]
    asked = [offer.ask(held) for offer in pair]
    first, second = (question.rstrip("?？。.! ") for question, _ in asked)
    joint = rng.choice(
        ("，", "，还有", "？另外，", "。") if language == "zh" else (" and ", ", and ", "? And ", ". Also, ")
    )
    end = "？" if language == "zh" else "?"
    calls = tuple(Call(o.name, arguments) for o, (_, arguments) in zip(pair, asked, strict=True))
    return Turn("tools parallel", language, first + joint + second + end, "", calls=calls, check="calls")


def unrelated(offered: list[Offer], other: Other) -> Turn:
    """A turn that none of the tools is for."""
    topics = {word for offer in offered for word in offer.topic.split()}
    calculates = "calculator" in topics
    for _ in range(50):
        made = other()
        words = set(made.question.lower().replace("?", "").split())
        unknown = made.task in ("know", "do", "unknown") and any(offer.does for offer in offered)
        if not (words & topics or unknown or (calculates and made.task.startswith("sums"))):
            break
    return Turn("tools none", made.language, made.question, made.answer, made.accepted)


def refused(rng: Random, book: Book, language: Language, held: bool, offered: list[Offer]) -> Turn | None:
    """A wish that a tool could grant which is not there."""
    if any(offer.topic == "search" for offer in offered):
        return None
    for _ in range(20):
        wish = rng.choice((lookup, action))(rng, book, language, held)
        if wish.topic.split()[0] not in NEVER_REFUSED and all(_apart(wish, offer) for offer in offered):
            answers = [intent.answer[language] for intent in book.offtopic]  # does not know, cannot do
            return Turn("tools none", language, wish.ask(held)[0], answers[wish.does], tuple(answers))
    return None


def forced(rng: Random, offered: list[Offer], turn: Turn) -> Turn:
    """A call that the client demands whatever was said: the text itself stands for what is not known."""
    offer = rng.choice(offered)
    plain = {"integer": 1, "number": 1.0, "boolean": True, "array": [turn.question], "string": turn.question}
    arguments = {
        f.name: f.kind.removeprefix("enum:").split(",")[0] if f.kind.startswith("enum:") else plain[json_type(f.kind)]
        for f in offer.fields
        if not f.optional
    }
    made = Call(offer.name, arguments)
    return Turn(
        "tools forced", turn.language, turn.question, "", calls=(made,), check="calls",
        forced=('<tool_call>\n{"name": "',),
    )  # fmt: skip


# ---- results


def result(
    rng: Random, book: Book, language: Language, held: bool, calls: tuple[Call, ...], offered: list[Offer]
) -> Turn:
    """What the tools gave back, and the answer made of it."""
    box = book.tools.answer
    if len(calls) > 1:
        said_ = [_value(rng, book, language, held) for _ in calls]
        texts = tuple(rng.choice((dumps({rng.choice(RESULT_KEYS): v}), str(v))) for v in said_)
        answer = box["many"][language].replace("{r}", _comma(language).join(map(str, said_)))
        return Turn("tool result", language, "", answer, (answer,), results=texts)
    does = any(offer.name == calls[0].name and offer.does for offer in offered)
    text, answer = _outcome(rng, book, language, held, does)
    return Turn("tool result", language, "", answer, (answer,), results=(text,))


def _outcome(rng: Random, book: Book, language: Language, held: bool, does: bool) -> tuple[str, str]:
    box, chance = book.tools.answer, rng.random()
    if does and chance < 0.35:
        return rng.choice(('{"status": "ok"}', "ok", "OK", "done", "success", '{"success": true}', "null", "")), box[
            "done"
        ][language]
    if 0.35 <= chance < 0.43:
        error = _fill(rng, rng.choice(book.tools.errors))
        text = rng.choice((f"Error: {error}", dumps({"error": error}), f"Error: {error}."))
        return text, box["failed"][language].replace("{r}", error)
    if chance < 0.6:
        sentence = _fill(rng, rng.choice(book.tools.sentences[language]), book, language, held)
        return sentence, sentence
    if chance < 0.75:
        keys = [
            syllables(rng) if rng.random() < 0.5 else rng.choice(book.tools.lookup.nouns)[0]
            for _ in range(rng.randint(2, 4))
        ]
        pairs = {key: _value(rng, book, language, held) for key in keys}
        listed = _comma(language).join(f"{key} {_shown(v)}" for key, v in pairs.items())
        return dumps(pairs), box["many"][language].replace("{r}", listed)
    if chance < 0.8:
        values = [_value(rng, book, language, held) for _ in range(rng.randint(2, 4))]
        return dumps(values), box["many"][language].replace("{r}", _comma(language).join(map(_shown, values)))
    one = _value(rng, book, language, held)
    key = rng.choice(RESULT_KEYS) if rng.random() < 0.7 else rng.choice(book.tools.lookup.nouns)[0]
    text = dumps({key: one}) if rng.random() < 0.65 else _shown(one)
    return text, box["one"][language].replace("{r}", _shown(one))


def _value(rng: Random, book: Book, language: Language, held: bool) -> Any:
    chance = rng.random()
    if chance < 0.4:
        return whole(rng)
    if chance < 0.5:
        return said("float", rng, book, language)[1]
    if chance < 0.55:
        return rng.random() < 0.5
    kind = rng.choice(("word", "thing", "place", "name", "code", "colour", "date", "clock", "phrase"))
    return value(kind, rng, book, language, held)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else dumps(value)


def _comma(language: Language) -> str:
    return "，" if language == "zh" else ", "


def _fill(rng: Random, text: str, book: Book | None = None, language: Language = "en", held: bool = False) -> str:
    text = text.replace("{n}", str(whole(rng)))
    for slot in ("{w}", "{x}"):
        text = text.replace(
            slot, phrase(rng, book, language, held) if book and rng.random() < 0.2 else _word(rng, book, language)
        )
    return text


def _word(rng: Random, book: Book | None, language: Language) -> str:
    return value(rng.choice(("word", "thing")), rng, book, language) if book else syllables(rng)
