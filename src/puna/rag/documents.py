"""What a collection holds, as plain values. Knows nothing of where they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["in_progress", "completed", "failed", "cancelled"]
Attribute: TypeAlias = str | float | bool


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that is found and quoted as a whole."""

    text: str
    heading: str = ""  # the headings or the definition above it: `Install > Windows`
    place: str = ""  # `lines 10-24`, `page 3`

    @property
    def embedded(self) -> str:
        """What its vector is made of: a passage means more under its headings."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a document has no passages; the codes are those of OpenAI's vector stores."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a collection, without its passages."""

    id: str
    name: str  # for people: a file's name or path
    digest: str = ""  # of its bytes and of how it was cut: the same digest, the same passages
    size: int = 0  # bytes of the file
    created: int = 0  # Unix seconds
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    chunk_tokens: int = 0  # tokens of a passage at most
    overlap_tokens: int = 0
    status: Status = "completed"
    failure: Failure | None = None
