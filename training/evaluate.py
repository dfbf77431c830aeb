"""How well cria answers: a cheap quiz while it trains; after, greedy answers to held-out and hand-typed questions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer

import puna
from training.book import LANGUAGES, Book, Intent, Language
from training.conversations import (
    Conversation,
    Maker,
    Turn,
    fact,
    hand_questions,
    missing,
    off_topic,
    said,
    system_prompt,
    turn,
    unknown_name,
    wish_off_topic,
)
from training.model import Llama
from training.tokenizer import IGNORED, encode

ANSWER_LIMIT = 80  # tokens
CONTEXT = 2048
# Questions of each task for ten of each intent of small talk.
SUITE: tuple[tuple[Maker, int], ...] = (
    (fact, 150), (missing, 50), (unknown_name, 20), (off_topic, 50), (wish_off_topic, 30),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """A conversation whose last answer is asked for, and what kind of question it is."""

    task: str
    language: Language
    talk: Conversation

    @property
    def turn(self) -> Turn:
        """The turn that is judged."""
        return self.talk.turns[-1]

    def asked(self) -> list[dict[str, str]]:
        """The messages up to the question."""
        return self.talk.messages()[:-1]


def held_out(book: Book, count: int, seed: int = 777) -> Iterator[Item]:
    """Questions in held-out phrasing: `count` per language and intent of small talk, others in proportion."""
    rng = Random(f"held out {seed}")
    makers: list[tuple[Maker, int]] = [(partial(said_by, intent), count) for intent in book.smalltalk]
    makers += [(maker, count * share // 10) for maker, share in SUITE]
    for language in LANGUAGES:
        for maker, number in makers:
            for _ in range(number):
                made = turn(rng, book, language, True, maker)
                yield Item(made.task, language, Conversation(None, (made,)))
        for _ in range(5 * count):
            yield Item("in a chat", language, _chat(rng, book, language))


def said_by(intent: Intent, rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """A turn of one intent of small talk."""
    return said(rng, book, intent, language, held)


def _chat(rng: Random, book: Book, language: Language) -> Conversation:
    """A system prompt, a few turns, and a held-out question."""
    before = [turn(rng, book, language) for _ in range(rng.randint(1, 6))]
    return Conversation(system_prompt(rng, book, language), (*before, turn(rng, book, language, True)))


def by_hand() -> Iterator[Item]:
    """The hand-typed questions."""
    for language, pairs in hand_questions().items():
        for question, key in pairs:
            yield Item("by hand", language, Conversation(None, (Turn("by hand", language, question, key, (key,)),)))


class Quiz:
    """A fixed set of questions, answered by one forward pass.

    Greedy decoding gives the reference answer exactly when each of its tokens is the likeliest after those before it.
    """

    def __init__(self, book: Book, tokenizer: Tokenizer, count: int = 2) -> None:
        self.items: list[tuple[str, list[int], list[int]]] = []
        for item in held_out(book, count, seed=99):
            ids, labels = encode(tokenizer, item.talk)
            last = max(i for i in range(len(labels) - 1) if labels[i] == IGNORED and labels[i + 1] != IGNORED)
            wanted = [label if i > last else IGNORED for i, label in enumerate(labels)]
            self.items.append((f"{item.task} {item.language}", ids, wanted))
        self.items.sort(key=lambda item: len(item[1]))

    def report(self, model: Llama) -> str:
        """Per cent of exact answers by task and language."""
        right: dict[str, list[bool]] = defaultdict(list)
        for start in range(0, len(self.items), 32):
            chunk = self.items[start : start + 32]
            length = max(len(ids) for _, ids, _ in chunk)
            ids = torch.tensor([ids + [0] * (length - len(ids)) for _, ids, _ in chunk])
            wanted = torch.tensor([labels + [IGNORED] * (length - len(labels)) for _, _, labels in chunk])
            with torch.no_grad():
                best = model.logits(model.hidden(ids))[:, :-1].argmax(-1)
            exact = ((best == wanted[:, 1:]) | (wanted[:, 1:] == IGNORED)).all(1)
            for (cell, _, _), good in zip(chunk, exact.tolist(), strict=True):
                right[cell].append(good)
        total = [good for cell in right.values() for good in cell]
        cells = ", ".join(f"{cell} {_percent(good):.0f}" for cell, good in sorted(right.items()))
        return f"all {_percent(total):.1f}: {cells}"


def answers(path: Path, items: list[Item]) -> list[str]:
    """Greedy answers of the model in a GGUF file, run by Puna."""
    with puna.LLM(path, context=CONTEXT) as llm:
        return [llm.chat(item.asked(), temperature=0.0, max_tokens=ANSWER_LIMIT).text for item in items]


def table(items: list[Item], said: list[str]) -> Mapping[str, Mapping[Language, tuple[int, int]]]:
    """Right answers and questions, by task and language."""
    counts: dict[str, dict[Language, tuple[int, int]]] = defaultdict(dict)
    for item, answer in zip(items, said, strict=True):
        good, total = counts[item.task].get(item.language, (0, 0))
        counts[item.task][item.language] = (good + item.turn.right(answer), total + 1)
    return counts


def _percent(good: list[bool]) -> float:
    return 100 * sum(good) / len(good)
