"""/v1/models as Anthropic's clients read it: pages of models. Knows nothing of how models are found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from puna.errors import InvalidRequest
from puna.store import LocalModel

DEFAULT_LIMIT = 20  # models of a page, as in Anthropic's API
MAX_LIMIT = 1000


def model_object(model: LocalModel) -> dict[str, Any]:
    """One model. `max_input_tokens` is there where the file says what the model was trained for."""
    known = model.details.context_length
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": model.modified.isoformat(),
        "lifecycle": "active",
        **({} if known is None else {"max_input_tokens": known}),
    }


def page(models: Sequence[LocalModel], query: Mapping[str, str]) -> dict[str, Any]:
    """The part of the list that `limit` and `after_id` or `before_id` ask for. Raises InvalidRequest."""
    data = [model_object(model) for model in models]
    ids = [each["id"] for each in data]
    limit = _limit(query.get("limit", str(DEFAULT_LIMIT)))
    start, end = 0, len(data)
    if "after_id" in query:
        start = _place(ids, query["after_id"]) + 1
    if "before_id" in query:
        end = _place(ids, query["before_id"])
        start = max(start, end - limit)
    found = data[start : min(end, start + limit)]
    more = start > 0 if "before_id" in query else start + len(found) < end
    return {
        "data": found,
        "first_id": found[0]["id"] if found else None,
        "last_id": found[-1]["id"] if found else None,
        "has_more": more,
    }


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MAX_LIMIT:
        raise InvalidRequest(f"limit must be a number from 1 to {MAX_LIMIT}, not {text!r}")
    return int(text)


def _place(ids: Sequence[str], wanted: str) -> int:
    if wanted not in ids:
        raise InvalidRequest(f"there is no model {wanted!r} to go on from")
    return ids.index(wanted)
