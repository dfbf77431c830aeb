"""What cria is asked to see how well it answers: questions in held-out phrasing, and those typed by hand.

Knows nothing of the model's weights nor of torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from random import Random

import puna
from training.book import Book, Intent
from training.conversations import (
    Maker,
    Skill,
    calling,
    fact,
    filling,
    hand_conversations,
    hand_questions,
    missing,
    off_topic,
    remembering,
    said,
    system_prompt,
    turn,
    unknown_name,
    wish_off_topic,
)
from training.copying import repeat
from training.grammar import LANGUAGES, Language
from training.passages import passage
from training.sums import several, sums, too_hard
from training.turns import Conversation, Turn

ANSWER_LIMIT = 160  # tokens
# Questions of each task for ten of each intent of small talk.
SUITE: tuple[tuple[Maker, int], ...] = (
    (fact, 150), (missing, 50), (unknown_name, 20), (off_topic, 50), (wish_off_topic, 30), (sums, 60), (several, 20),
    (too_hard, 20), (repeat, 60),
)  # fmt: skip
# The same for tasks that need a whole conversation: its maker, and the tasks of the turns that are judged.
SKILL_SUITE: tuple[tuple[Skill, tuple[str, ...], int], ...] = (
    (remembering, ("memory", "memory of nothing"), 60), (passage, ("passage",), 60), (calling, ("tools",), 80),
    (calling, ("tools none",), 40), (calling, ("tools parallel",), 20), (calling, ("tool result",), 60),
    (filling, ("schema",), 60), (filling, ("schema by grammar",), 30),
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

    def prompt(self) -> str:
        """The text up to the answer, as the chat template renders it."""
        return self.talk.prompt()


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
        for skill, tasks, share in SKILL_SUITE:
            for _ in range(max(1, count * share // 10)):
                talk = upto(rng, book, language, skill, tasks)
                yield Item(talk.turns[-1].task, language, talk)
        for _ in range(5 * count):
            yield Item("in a chat", language, _chat(rng, book, language))


def upto(rng: Random, book: Book, language: Language, skill: Skill, tasks: tuple[str, ...]) -> Conversation:
    """A held-out conversation up to one of the turns of such a task."""
    while True:
        talk = skill(rng, book, language, True)
        ends = [i for i, one in enumerate(talk.turns) if one.task in tasks]
        if ends:
            return Conversation(talk.system, talk.turns[: rng.choice(ends) + 1], talk.tools)


def said_by(intent: Intent, rng: Random, book: Book, language: Language, held: bool) -> Turn:
    """A turn of one intent of small talk."""
    return said(rng, book, intent, language, held)


def _chat(rng: Random, book: Book, language: Language) -> Conversation:
    """A system prompt, a few turns, and a held-out question."""
    before = [turn(rng, book, language) for _ in range(rng.randint(1, 6))]
    return Conversation(system_prompt(rng, book, language), (*before, turn(rng, book, language, True)))


def by_hand() -> Iterator[Item]:
    """The hand-typed questions, and the hand-typed conversations."""
    for language, pairs in hand_questions().items():
        for question, key in pairs:
            yield Item("by hand", language, Conversation(None, (Turn("by hand", language, question, key, (key,)),)))
    for talk in hand_conversations():
        yield Item(f"by hand: {talk.turns[-1].task}", talk.turns[-1].language, talk)


def completion(llm: puna.LLM, talk: Conversation) -> str:
    """What a model says last in a conversation, marks of tool calls included."""
    return llm.generate(talk.prompt(), temperature=0.0, max_tokens=ANSWER_LIMIT).text
