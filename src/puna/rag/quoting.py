"""Passages as numbered sources in a prompt, and which of them an answer names. Knows nothing of how it is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from puna.rag.collection import Hit

INSTRUCTION = (
    "Answer the question from the numbered sources. After what you take from a source write its number, like [1]. "
    "If the sources do not say, say so."
)
_NUMBER = re.compile(r"\[(\d{1,3})\]")


@dataclass(frozen=True, slots=True)
class Quoted:
    """A user's message with sources before the question."""

    text: str
    sources: tuple[Hit, ...]  # number 1 first
    left_out: int  # how many did not fit


def quote(question: str, hits: Sequence[Hit], names: Callable[[str], str], fits: Callable[[str], bool]) -> Quoted:
    """The message with as many sources as fit, the best first.

    names: of documents by their ids.
    fits: whether a message leaves the model room for its answer.
    """
    for count in range(len(hits), -1, -1):
        text = _message(question, hits[:count], names)
        if count == 0 or fits(text):
            return Quoted(text, tuple(hits[:count]), len(hits) - count)
    raise AssertionError("a message without sources is taken as it is")


def cited(answer: str, count: int) -> list[tuple[int, int]]:
    """(place in the text, number) of each mark like [2] that names one of `count` sources."""
    return [(match.start(), int(match[1])) for match in _NUMBER.finditer(answer) if 1 <= int(match[1]) <= count]


def describe(hit: Hit, name: str) -> str:
    """Where a passage is from: `docs/cli.md, puna run, lines 10-24`."""
    return ", ".join(part for part in (name, hit.passage.heading, hit.passage.place) if part)


def _message(question: str, hits: Sequence[Hit], names: Callable[[str], str]) -> str:
    if not hits:
        return question
    sources = [
        f"[{number}] {describe(hit, names(hit.document))}\n{hit.passage.text}" for number, hit in enumerate(hits, 1)
    ]
    return "\n\n".join([INSTRUCTION, *sources, f"Question: {question}"])
