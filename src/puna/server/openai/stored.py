"""Answers kept for whoever asked for it (`store: true`): in memory, so many bytes, until the server ends.

Each belongs to the client that asked for it, and is not there for another. Knows nothing of what is in them.
For the event loop's thread.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from puna.errors import InvalidRequest
from puna.server.encoding import json_bytes
from puna.server.errors import NotFoundError

MAX_BYTES = 256 << 20  # of JSON, all answers together: several times the largest request
MAX_PAGE = 100  # entries of one page of a list, as in OpenAI's API


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer, and the messages or items it answers; all of it JSON objects."""

    reply: dict[str, Any]
    asked: list[dict[str, Any]]


class StoredAnswers:
    """The answers of one kind. The oldest go where all together would be more than `max_bytes`."""

    def __init__(self, kind: str, max_bytes: int = MAX_BYTES) -> None:
        """`kind` is what an error calls them."""
        self._kind = kind
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # by client and id, the oldest first

    def put(self, client: str, stored: Stored) -> None:
        """Keep an answer under its `id`."""
        key = (client, str(stored.reply["id"]))
        self._drop(key)
        text = json_bytes({"reply": stored.reply, "asked": stored.asked})
        self._kept[key] = text
        self._bytes += len(text)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def get(self, client: str, answer_id: str) -> Stored:
        """Raises NotFoundError: never kept, deleted, or gone to make room."""
        text = self._kept.get((client, answer_id))
        if text is None:
            raise NotFoundError(f"there is no {self._kind} {answer_id!r}: answers are kept until the server ends")
        return Stored(**json.loads(text))

    def set_metadata(self, client: str, answer_id: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        """The answer with other metadata. Raises NotFoundError."""
        stored = self.get(client, answer_id)
        changed = {**stored.reply, "metadata": dict(metadata)}
        key = (client, answer_id)
        text = json_bytes({"reply": changed, "asked": stored.asked})
        self._bytes += len(text) - len(self._kept[key])
        self._kept[key] = text
        return changed

    def delete(self, client: str, answer_id: str) -> None:
        """Raises NotFoundError."""
        self.get(client, answer_id)
        self._drop((client, answer_id))

    def replies(self, client: str) -> Iterator[dict[str, Any]]:
        """A client's answers, the oldest first."""
        for owner, answer_id in list(self._kept):
            if owner == client:
                yield self.get(client, answer_id).reply

    def _drop(self, key: tuple[str, str]) -> None:
        self._bytes -= len(self._kept.pop(key, b""))


# What chooses a page, for the description of the API.
PAGE_PARAMETERS = [
    {"name": name, "in": "query", "description": description, "schema": schema}
    for name, description, schema in (
        ("after", "The id of the entry before the first.", {"type": "string"}),
        ("limit", "Entries at most.", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": 20}),
        ("order", "The oldest or the newest first.", {"type": "string", "enum": ["asc", "desc"]}),
    )
]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted."""

    after: str | None = None  # the id before its first entry
    limit: int = 20
    descending: bool = False

    @classmethod
    def asked(cls, query: Mapping[str, str], *, order: str = "asc") -> Page:
        """Of a query string; `order` where it says none. Raises InvalidRequest."""
        limit, direction = query.get("limit", "20"), query.get("order", order)
        if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MAX_PAGE:
            raise InvalidRequest(f"limit must be a number between 1 and {MAX_PAGE}, not {limit!r}")
        if direction not in ("asc", "desc"):
            raise InvalidRequest(f"order must be 'asc' or 'desc', not {direction!r}")
        return cls(query.get("after"), int(limit), direction == "desc")

    def of(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The list object with this part of the entries, each of which has an `id`."""
        ordered = list(reversed(entries)) if self.descending else list(entries)
        start = next((index + 1 for index, entry in enumerate(ordered) if entry["id"] == self.after), 0)
        data = ordered[start : start + self.limit]
        return {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": start + self.limit < len(ordered),
        }
