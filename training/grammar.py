"""Phrasings from short patterns, and which of them are kept out of training.

A pattern is a line such as `(hi|hello) there`: one choice of each group, groups do not nest. It knows nothing of what
the phrases mean.
"""

from __future__ import annotations

import itertools
import re
import zlib
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
HELD_OUT = 7  # one line in seven is held out in full, and one in seven of the expansions of the others
_GROUP = re.compile(r"\(([^()]*)\)")
_NOT_WORD = re.compile(r"[\W_]+")


@cache
def expand(pattern: str) -> tuple[str, ...]:
    """All phrases of a pattern, with blanks tidied."""
    pieces = _GROUP.split(pattern)  # text, group, text, group, ..., text
    choices = [piece.split("|") if i % 2 else [piece] for i, piece in enumerate(pieces)]
    phrases = (" ".join("".join(parts).split()) for parts in itertools.product(*choices))
    return tuple(dict.fromkeys(phrases))


def normal(text: str) -> str:
    """The text without case, blanks and punctuation: two questions are the same when these are equal."""
    return _NOT_WORD.sub("", text.casefold())


def bucket(name: str, count: int) -> int:
    """A number below `count` that depends on the name alone, the same on every machine."""
    return zlib.crc32(name.encode()) % count


@dataclass(frozen=True, slots=True)
class Phrases:
    """Phrases of one list of patterns, grouped by the line that they come from."""

    trained: tuple[tuple[str, ...], ...]
    held: tuple[tuple[str, ...], ...]

    def pick(self, rng: Random, held: bool) -> str:
        """A phrase: first a line, then one of its expansions, so that long lines do not crowd out short ones.

        Where a short list has nothing held out, the trained phrases stand in.
        """
        return rng.choice(rng.choice(self.held if held and self.held else self.trained))

    def flat(self, held: bool) -> list[str]:
        """All phrases of one side."""
        return [phrase for line in (self.held if held else self.trained) for phrase in line]


def read(spec: str, scope: str) -> Phrases:
    """The phrases of a block of lines, split into trained and held out.

    A line is named by `scope` and its first expansion, so that neither other lines nor further choices in its groups
    move the split. Lines with a leading "!" are the plainest ways to say it and are always trained.
    """
    trained: list[tuple[str, ...]] = []
    held: list[tuple[str, ...]] = []
    for line in filter(None, map(str.strip, spec.splitlines())):
        phrases = expand(line.removeprefix("!"))
        if line.startswith("!"):
            trained.append(phrases)
        elif bucket(f"{scope}: {phrases[0]}", HELD_OUT) == 0:
            held.append(phrases)
        else:
            kept_out = {p for p in phrases if bucket(p, HELD_OUT) == 0}
            trained.append(tuple(p for p in phrases if p not in kept_out))
            held.append(tuple(p for p in phrases if p in kept_out))
    known = {normal(p) for line in trained for p in line}
    unseen = (tuple(p for p in line if normal(p) not in known) for line in held)
    return Phrases(tuple(filter(None, trained)), tuple(filter(None, unseen)))
