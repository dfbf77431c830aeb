"""Comparisons as eq, lt and their kin make them: values of one kind with each other, nil with what can be nil.

Source: Go's text/template documentation ("Functions").
"""

from __future__ import annotations

from collections.abc import Sequence

from puna.chat.gotemplate import text
from puna.chat.gotemplate.values import BASIC, is_nil, kind, type_name


class CannotCompare(Exception):
    """Two values that Go does not compare."""


def equal(first: object, others: Sequence[object]) -> bool:
    """Whether the first value equals any of the others. Raises CannotCompare, where it gets that far."""
    if not others:
        raise CannotCompare("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def less(first: object, second: object) -> bool:
    """first < second, for numbers and strings. Raises CannotCompare."""
    kinds = kind(first), kind(second)
    if not BASIC.issuperset(kinds):
        raise CannotCompare("invalid type for comparison")
    if kinds[0] != kinds[1]:
        raise _incompatible(first, second)
    if isinstance(first, str) and isinstance(second, str):
        return text.to_bytes(first) < text.to_bytes(second)
    if isinstance(first, (int, float)) and isinstance(second, (int, float)) and "bool" not in kinds:
        return first < second
    raise CannotCompare("invalid type for comparison")


def less_or_equal(first: object, second: object) -> bool:
    """first <= second."""
    return less(first, second) or _equal(first, second)


def _equal(first: object, second: object) -> bool:
    kinds = kind(first), kind(second)
    if BASIC.issuperset(kinds):
        if kinds[0] != kinds[1]:
            raise _incompatible(first, second)
        if isinstance(first, str) and isinstance(second, str):
            return text.joined(first) == text.joined(second)
        return bool(first == second)
    if not BASIC.isdisjoint(kinds):  # the other one is nil, or not basic
        if "invalid" in kinds:
            return False
        raise _incompatible(first, second)
    if kinds[0] != kinds[1] and "invalid" not in kinds:
        raise _incompatible(first, second)
    if is_nil(first) or is_nil(second):
        return is_nil(first) and is_nil(second)
    if kinds[0] != "ptr":
        raise CannotCompare(f"non-comparable type {type_name(second)}")
    return first is second


def _incompatible(first: object, second: object) -> CannotCompare:
    return CannotCompare(f"incompatible types for comparison: {type_name(first)} and {type_name(second)}")
