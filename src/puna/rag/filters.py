"""Conditions on documents' attributes, as OpenAI's vector stores write them. Knows nothing of where these are kept."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from puna.errors import InvalidRequest

MAX_DEPTH = 16  # of conditions within conditions

_ORDER: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def matches(condition: Mapping[str, Any], attributes: Mapping[str, object], depth: int = 0) -> bool:
    """Whether a document's attributes fulfil a comparison, or an `and` / `or` of conditions.

    A document without the attribute fulfils only `ne` and `nin`. Raises InvalidRequest for what is no condition.
    """
    if depth > MAX_DEPTH:
        raise InvalidRequest(f"filters: conditions are nested more than {MAX_DEPTH} deep")
    kind = condition.get("type")
    if kind in ("and", "or"):
        inner = condition.get("filters")
        if not isinstance(inner, Sequence) or not inner or not all(isinstance(each, Mapping) for each in inner):
            raise InvalidRequest(f"filters: {kind!r} needs a list of conditions")
        results = [matches(each, attributes, depth + 1) for each in inner]  # all: a wrong one is never passed over
        return all(results) if kind == "and" else any(results)
    key = condition.get("key")
    if not isinstance(key, str) or "value" not in condition:
        raise InvalidRequest("filters: a comparison needs a key and a value")
    return _compare(str(kind), attributes.get(key), condition["value"])


def _compare(kind: str, value: object, wanted: object) -> bool:
    match kind:
        case "eq":
            return _same(value, wanted)
        case "ne":
            return not _same(value, wanted)
        case "in" | "nin":
            if not isinstance(wanted, list):
                raise InvalidRequest(f"filters: {kind!r} needs a list of values")
            return any(_same(value, each) for each in wanted) == (kind == "in")
        case "gt" | "gte" | "lt" | "lte":
            if isinstance(wanted, bool) or not isinstance(wanted, str | int | float):
                raise InvalidRequest(f"filters: {kind!r} needs a number or a text")
            comparable = (
                isinstance(value, str)
                if isinstance(wanted, str)
                else isinstance(value, int | float) and not isinstance(value, bool)
            )
            return comparable and _ORDER[kind](value, wanted)
    raise InvalidRequest(f"filters: there is no comparison {kind!r}; use eq, ne, gt, gte, lt, lte, in, nin, and, or")


def _same(value: object, wanted: object) -> bool:
    """1 and 1.0 are the same number; 1 and true are not the same."""
    return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)
