"""What a model was taught, as a list to keep beside its file: names of answers with a checksum, and the skills.

The book grows before the next model is trained: tests ask a model only what it was taught.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from training.book import Book, Fact, Intent
from training.grammar import LANGUAGES
from training.material import HERE

SHIPPED = HERE / "taught.json"  # of the file in the wheel
SKILLS = ("memory", "passages", "repeating", "schemas", "sums", "tools")


@dataclass(frozen=True, slots=True)
class Taught:
    """Checksums of answers by the name of their fact or intent, and what else the model can do."""

    answers: Mapping[str, int]
    skills: Collection[str]

    def of(self, book: Book) -> Book:
        """The part of the book that the model was taught as it stands."""
        kept = {key for key, checksum in checksums(book).items() if self.answers.get(key) == checksum}
        return replace(
            book,
            facts=tuple(fact for fact in book.facts if fact.name in kept),
            missing=tuple(fact for fact in book.missing if fact.name in kept),
            smalltalk=tuple(intent for intent in book.smalltalk if intent.name in kept),
        )


def checksums(book: Book) -> dict[str, int]:
    """A checksum of the answers, by name."""
    told: tuple[Fact | Intent, ...] = (*book.facts, *book.missing, *book.smalltalk)
    return {one.name: zlib.crc32("\n".join(_answer(one)).encode()) for one in told}


def _answer(one: Fact | Intent) -> list[str]:
    return [one.answer(lang) if isinstance(one, Fact) else one.answer[lang] for lang in LANGUAGES]


def write(book: Book, path: Path) -> None:
    """Write the list for a model trained on the whole book."""
    path.write_text(json.dumps({"answers": checksums(book), "skills": SKILLS}, ensure_ascii=False, indent=1) + "\n")


def read(path: Path = SHIPPED) -> Taught:
    """Read a list."""
    table = json.loads(path.read_text(encoding="utf-8"))
    return Taught(table["answers"], table["skills"])
