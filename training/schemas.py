"""Texts to be put into JSON: records of people, products, events; jokes and plain answers in a schema.

The prompt tells the schema, or the keys, or neither: an API may enforce a schema by a grammar alone, and then what the
grammar writes (the braces and keys) is not trained on.
"""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random
from typing import Any

from training.book import Book
from training.grammar import Language
from training.material import Field, Record
from training.memory import Other
from training.turns import Conversation, Turn, dumps
from training.values import json_type, said, syllables

_SLOT = re.compile(r"\{(\d)\}")


def schema(rng: Random, book: Book, language: Language, held: bool, other: Other) -> Conversation:
    """A text, and its JSON as the answer."""
    kind = rng.choices(("record", "pairs", "joke", "reply", "unknown", "free"), (52, 15, 8, 11, 8, 6))[0]
    if kind == "free":
        return _free(rng, book, language, held, other())
    if kind == "record":
        text, filled, fields, title = _record(rng, book, language, held)
    elif kind == "pairs":
        text, filled, fields, title = _pairs(rng, book, language, held)
    elif kind == "joke":
        text, filled, fields, title = _joke(rng, book, language, held)
    elif kind == "reply":
        text, filled, fields, title = _reply(rng, book, other())
    else:
        text, filled, fields, title = _unknown(rng, book, language, held)
    if kind != "joke" and rng.random() < 0.15:  # the order of the schema, not of the text
        fields = tuple(rng.sample(fields, len(fields)))
    answer = dumps({field.name: filled.get(field.name) for field in fields})
    turn = Turn("schema", language, text, answer, check="json", accepted=(answer,))
    return _asked(rng, book, language, held, turn, fields, title)


def _asked(
    rng: Random, book: Book, language: Language, held: bool, turn: Turn, fields: tuple[Field, ...], title: str
) -> Conversation:
    """The schema in the prompt (60 %), the keys (15 %), or neither."""
    chance, text = rng.random(), turn.question
    if chance < 0.6:
        told = dumps(json_schema(rng, fields, title))
        frame = book.schemas.with_schema[language].pick(rng, held).replace("\\n", "\n")
        if rng.random() < 0.3:  # the instruction in the system prompt, the text alone in the question
            return Conversation(frame.replace("{s}", told).replace("{t}", "").strip(), (turn,))
        return Conversation(None, (replace(turn, question=frame.replace("{s}", told).replace("{t}", text)),))
    if chance < 0.75:
        frame = book.schemas.with_keys[language].pick(rng, held).replace("\\n", "\n")
        listed = _listed(rng, [field.name for field in fields], language)
        return Conversation(None, (replace(turn, question=frame.replace("{k}", listed).replace("{t}", text)),))
    frame = book.schemas.alone[language].pick(rng, held).replace("\\n", "\n")
    forced = ("{", *(f"{dumps(field.name)}: " for field in fields))
    return Conversation(
        None, (replace(turn, task="schema by grammar", question=frame.replace("{t}", text), forced=forced),)
    )


def _listed(rng: Random, names: list[str], language: Language) -> str:
    mark = rng.choice(("'{}'", '"{}"', "{}", "`{}`"))
    marked = [mark.format(name) for name in names]
    if language == "zh":
        return "、".join(marked)
    return ", ".join(marked[:-1]) + rng.choice((" and ", ", ")) + marked[-1] if len(marked) > 1 else marked[0]


def json_schema(rng: Random, fields: tuple[Field, ...], title: str) -> dict[str, Any]:
    """A JSON schema of an object with these fields, in one of the ways that clients write it."""
    titled = rng.random() < 0.3
    made: dict[str, Any] = {"type": "object", "properties": {f.name: _property(rng, f, titled) for f in fields}}
    if rng.random() < 0.85:
        made["required"] = [f.name for f in fields if not f.optional]
    if titled:
        made["title"] = title
    if rng.random() < 0.25:
        made["additionalProperties"] = False
    keys = rng.sample(list(made), len(made)) if rng.random() < 0.2 else list(made)
    return {key: made[key] for key in keys}


def _property(rng: Random, field: Field, titled: bool) -> dict[str, Any]:
    kind = json_type(field.kind)
    made: dict[str, Any] = {"type": kind}
    if field.optional:
        made = rng.choice(({"type": [kind, "null"]}, {"anyOf": [{"type": kind}, {"type": "null"}]}))
    if kind == "array":
        made["items"] = {"type": "string"}
    if field.kind == "sentiment":
        made["enum"] = ["positive", "negative"]
    if field.label and rng.random() < 0.3:
        made["description"] = field.label
    if titled:
        made["title"] = field.name.replace("_", " ").title()
    return made


Made = tuple[str, dict[str, Any], tuple[Field, ...], str]  # text, values by name, fields, title


def _record(rng: Random, book: Book, language: Language, held: bool) -> Made:
    """A text of a kind of record; now and then a field that it does not tell, which is null."""
    record = rng.choice(book.schemas.records)
    text = record.texts[language].pick(rng, held)
    told = list(dict.fromkeys(int(slot) for slot in _SLOT.findall(text)))
    fields, filled = [], {}
    for i in told:
        field = _field(rng, record, i)
        shown, value = said(field.kind, rng, book, language, held, field.words)
        text = text.replace(f"{{{i}}}", shown)
        fields.append(field)
        filled[field.name] = value
    silent = [i for i in range(len(record.fields)) if i not in told]
    if silent and rng.random() < 0.15:
        field = _field(rng, record, rng.choice(silent))
        fields.append(replace(field, optional=True))
        filled[field.name] = None
    return text, filled, tuple({f.name: f for f in fields}.values()), record.title


def _field(rng: Random, record: Record, i: int) -> Field:
    param = record.fields[i]
    return Field(rng.choice(param.names), param.kind, param.names[0].replace("_", " "), param.words)


def _pairs(rng: Random, book: Book, language: Language, held: bool) -> Made:
    """Names and values without sense: "zorp: 12, blick: red apple"."""
    kinds = rng.choices(("int", "float", "word", "thing", "code", "name", "date"), k=rng.randint(1, 4))
    fields = tuple({f.name: f for f in (Field(syllables(rng), kind, "") for kind in kinds)}.values())
    pair, end = rng.choice(
        (("{}: {}", ", "), ("{} = {}", "; "), ("{} is {}", ", "), ("the {} is {}", " and "), ("{} {}", ", "))
        if language == "en"
        else (("{}：{}", "，"), ("{}是{}", "，"), ("{} = {}", "；"), ("{}为{}", "，"))
    )
    values = {f.name: said(f.kind, rng, book, language, held) for f in fields}
    text = end.join(pair.format(name, shown) for name, (shown, _) in values.items())
    return text, {name: value for name, (_, value) in values.items()}, fields, "Data"


def _joke(rng: Random, book: Book, language: Language, held: bool) -> Made:
    """A joke of two lines, as far as a very small model can joke."""
    jokes = book.schemas.joke
    topic, like = said("thing", rng, book, language, held)[0], rng.choice(book.words[language]["like"].trained)
    topic = f"{topic}s" if language == "en" and not topic.endswith("s") else topic
    names = rng.choice(jokes.setups), rng.choice(jokes.punchlines)
    texts = (
        rng.choice(lines[language]).replace("{t}", topic).replace("{l}", like)
        for lines in (jokes.setup, jokes.punchline)
    )
    question = jokes.ask[language].pick(rng, held).replace("{t}", topic) + ("." if language == "en" else "。")
    fields = tuple(
        Field(name, "text", label) for name, label in zip(names, ("start of the joke", "end of the joke"), strict=True)
    )
    question = question[0].upper() + question[1:]
    return question, dict(zip(names, texts, strict=True)), fields, "Joke"


def _reply(rng: Random, book: Book, turn: Turn) -> Made:
    """Whatever cria would answer, as the only string."""
    name = rng.choice(book.schemas.reply_names)
    return turn.question, {name: turn.answer}, (Field(name, "text", ""),), "Answer"


def _free(rng: Random, book: Book, language: Language, held: bool, turn: Turn) -> Conversation:
    """JSON is asked for, but no keys are told: cria's usual answer under "answer"."""
    question = book.schemas.free[language].pick(rng, held).replace("\\n", "\n").replace("{t}", turn.question)
    answer = dumps({"answer": turn.answer})
    return Conversation(None, (Turn("schema", language, question, answer, check="json", accepted=(answer,)),))


def _unknown(rng: Random, book: Book, language: Language, held: bool) -> Made:
    """Questions about the world: the name of the thing is known, all else is not."""
    table = book.schemas.unknown
    topic = said(rng.choice(("place", "name", "thing", "subject")), rng, book, language, held)[0]
    kinds = rng.choices(("text", "int", "list"), (6, 2, 2), k=rng.randint(1, 3))
    nouns = rng.sample(book.tools.lookup.nouns, len(kinds))
    fields = (
        Field("name", "text", ""),
        *(Field(n.replace(" ", "_"), k, "") for (n, _), k in zip(nouns, kinds, strict=True)),
    )
    word = table.word[language]
    plain: dict[str, Any] = {"text": word, "int": 0, "list": [word]}
    filled = {"name": topic} | {field.name: plain[field.kind] for field in fields[1:]}
    question = table.ask[language].pick(rng, held).replace("{t}", topic)
    return question + ("." if language == "en" else "。"), filled, fields, "Topic"
