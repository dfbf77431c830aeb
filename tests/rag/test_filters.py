from __future__ import annotations

from typing import Any

import pytest

from puna.errors import InvalidRequest
from puna.rag.filters import matches

BOOK = {"author": "Ada", "year": 1843, "draft": True}


def compare(kind: str, key: str, value: object) -> bool:
    return matches({"type": kind, "key": key, "value": value}, BOOK)


@pytest.mark.parametrize(
    ("kind", "key", "value", "expected"),
    [
        ("eq", "author", "Ada", True),
        ("eq", "year", 1843.0, True),
        ("eq", "draft", 1, False),  # true is not 1
        ("ne", "missing", "x", True),
        ("gt", "year", 1800, True),
        ("gte", "year", 1843, True),
        ("lt", "year", 1843, False),
        ("lte", "author", "Bob", True),
        ("gt", "author", 3, False),  # a text is neither more nor less than a number
        ("gt", "missing", 3, False),
        ("in", "author", ["Bob", "Ada"], True),
        ("nin", "missing", ["Bob"], True),
    ],
)
def test_comparisons(kind: str, key: str, value: object, expected: bool) -> None:
    assert compare(kind, key, value) is expected


def test_conditions_are_put_together() -> None:
    ada, old = {"type": "eq", "key": "author", "value": "Ada"}, {"type": "lt", "key": "year", "value": 1800}
    assert not matches({"type": "and", "filters": [ada, old]}, BOOK)
    assert matches({"type": "or", "filters": [ada, {"type": "and", "filters": [old]}]}, BOOK)


def nested(depth: int) -> dict[str, Any]:
    return {"type": "and", "filters": [nested(depth - 1)]} if depth else {"type": "eq", "key": "a", "value": 1}


@pytest.mark.parametrize(
    "condition",
    [
        {"type": "like", "key": "author", "value": "A"},
        {"type": "eq", "key": "author"},
        {"type": "and", "filters": []},
        {"type": "and", "filters": "all"},
        {"type": "in", "key": "author", "value": "Ada"},
        {"type": "gt", "key": "year", "value": True},
        {"type": "or", "filters": [{"type": "eq", "key": "author", "value": "Ada"}, {"type": "bogus"}]},
        nested(100),
    ],
)
def test_what_is_no_condition_is_refused(condition: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="filters"):
        matches(condition, BOOK)
