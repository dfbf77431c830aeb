"""The functions of templates: Go's own, and those that Ollama adds.

Source: Go's text/template documentation ("Functions"); Ollama's template package for json, currentDate,
yesterdayDate and toTypeScriptType.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote_plus

from puna.chat.gotemplate import comparing, encoding, printing, text
from puna.chat.gotemplate.budget import Budget
from puna.chat.gotemplate.printf import sprintf
from puna.chat.gotemplate.values import NO_VALUE, Byte, Map, Slice, Struct, method, truth, type_name, weight

Arguments = Sequence[object]


class CallError(Exception):
    """A function was called with what it cannot take."""


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of `least` to `most` arguments (None: any number)."""

    call: Callable[[Arguments, Budget], object]
    least: int
    most: int | None = None


SHORT_CIRCUIT = {"and": False, "or": True}
"""Functions that stop at the first argument with this truth; the evaluator runs them."""


def functions(now: Callable[[], datetime]) -> Mapping[str, Builtin]:
    """By name. `now` gives the local time."""
    return {
        **_FUNCTIONS,
        "currentDate": Builtin(lambda arguments, _: _date(now(), arguments), 0),
        "yesterdayDate": Builtin(lambda arguments, _: _date(now() - timedelta(days=1), arguments), 0),
    }


def _date(day: datetime, arguments: Arguments) -> str:
    """Ollama takes a format and pays no heed to it."""
    for argument in arguments:
        _string(argument)
    return day.strftime("%Y-%m-%d")


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise CallError(f"wrong type for value; expected string; got {type_name(value)}")
    return value


# Collections.


def _len(arguments: Arguments, _: Budget) -> int:
    value = arguments[0]
    if isinstance(value, str):
        return text.size(value)
    if isinstance(value, (Slice, Map)):
        return len(value.items or ())
    raise CallError(f"len of {type_name(value)}")


def _index(arguments: Arguments, _: Budget) -> object:
    item, *indexes = arguments
    _not_nil(item, "index")
    for index in indexes:
        _not_nil(item, "index")
        item = _item(item, index)
    return item


def _item(item: object, index: object) -> object:
    if isinstance(item, Map):
        if not isinstance(index, str):
            raise CallError(f"value has type {type_name(index)}; should be string")
        return (item.items or {}).get(index, item.type.zero)
    if isinstance(item, str):
        data = text.to_bytes(item)
        return Byte(data[_position(index, len(data) - 1)])
    if isinstance(item, Slice):
        items = item.items or ()
        value = items[_position(index, len(items) - 1)]
        return Byte(value) if isinstance(items, bytes) and isinstance(value, int) else value
    raise CallError(f"can't index item of type {type_name(item)}")


def _slice(arguments: Arguments, budget: Budget) -> object:
    item, *indexes = arguments
    _not_nil(item, "slice")
    if len(indexes) > 3 or (len(indexes) == 3 and isinstance(item, str)):
        raise CallError(f"too many slice indexes: {len(indexes)}")
    if not isinstance(item, (str, Slice)):
        raise CallError(f"can't slice item of type {type_name(item)}")
    length = text.size(item) if isinstance(item, str) else len(item.items or ())
    positions = [_position(index, length) for index in indexes]
    start, end, *capacity = [*positions, *(0, length)[len(positions) :]]
    if start > end or (capacity and end > capacity[0]):
        raise CallError(f"invalid slice index: {start} > {end}" if start > end else f"invalid slice index: {end}")
    budget.spend(8 * (end - start))
    if isinstance(item, str):
        return text.cut(item, start, end)
    return Slice(item.type, None if item.items is None else item.items[start:end])


def _position(index: object, most: int) -> int:
    if isinstance(index, bool) or not isinstance(index, int):
        what = "nil" if index is None or index is NO_VALUE else f"type {type_name(index)}"
        raise CallError(f"cannot index slice/array with {what}")
    if not 0 <= index <= most:
        raise CallError(f"index out of range: {index}")
    return int(index)


def _not_nil(value: object, what: str) -> None:
    if value is None or value is NO_VALUE:
        raise CallError(f"{what} of untyped nil")


# Text.


def _print(arguments: Arguments, budget: Budget) -> str:
    return printing.sprint(arguments, budget.spend)


def _println(arguments: Arguments, budget: Budget) -> str:
    return printing.sprintln(arguments, budget.spend)


def _printf(arguments: Arguments, budget: Budget) -> str:
    values = [None if value is NO_VALUE else value for value in arguments[1:]]
    return sprintf(_string(arguments[0]), values, budget.spend)


def _escaping(escape: Callable[[str], str]) -> Builtin:
    """A function that prints its arguments and escapes the text."""

    def call(arguments: Arguments, budget: Budget) -> str:
        printed = printing.sprint([printing.printable(value) for value in arguments], budget.spend)
        budget.spend(printing.ESCAPING * len(printed))
        return escape(printed)

    return Builtin(call, 0)


_HTML = str.maketrans({"\0": "\ufffd", '"': "&#34;", "'": "&#39;", "&": "&amp;", "<": "&lt;", ">": "&gt;"})
_JS = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
_UNUSUAL = re.compile(r"""[^ -~]|[\\'"<>&=]""")


def _js(value: str) -> str:
    def escape(match: re.Match[str]) -> str:
        char = match[0]
        if char in _JS or text.shown(char).isprintable():
            return _JS.get(char, char)
        return f"\\u{ord(char):04X}"

    return _UNUSUAL.sub(escape, text.joined(value))


def _urlquery(value: str) -> str:
    return quote_plus(text.to_bytes(value))


# What Ollama adds.


def _json(arguments: Arguments, budget: Budget) -> str:
    budget.spend(printing.ESCAPING * weight(arguments[0]))
    return encoding.encode(arguments[0])


def _type_script(arguments: Arguments, _: Budget) -> object:
    convert = method(arguments[0], "ToTypeScriptType") if isinstance(arguments[0], Struct) else None
    return "any" if convert is None else convert(arguments[0])


def _call(arguments: Arguments, _: Budget) -> object:
    """No value of a template is a function."""
    raise CallError(f"non-function of type {type_name(arguments[0])}")


_FUNCTIONS: Mapping[str, Builtin] = {
    "and": Builtin(lambda arguments, _: arguments[-1], 1),
    "or": Builtin(lambda arguments, _: arguments[-1], 1),
    "not": Builtin(lambda arguments, _: not truth(arguments[0]), 1, 1),
    "len": Builtin(_len, 1, 1),
    "index": Builtin(_index, 1),
    "slice": Builtin(_slice, 1),
    "print": Builtin(_print, 0),
    "printf": Builtin(_printf, 1),
    "println": Builtin(_println, 0),
    "html": _escaping(lambda value: value.translate(_HTML)),
    "js": _escaping(_js),
    "urlquery": _escaping(_urlquery),
    "call": Builtin(_call, 1),
    "eq": Builtin(lambda arguments, _: comparing.equal(arguments[0], arguments[1:]), 1),
    "ne": Builtin(lambda arguments, _: not comparing.equal(arguments[0], arguments[1:]), 2, 2),
    "lt": Builtin(lambda arguments, _: comparing.less(*arguments), 2, 2),
    "le": Builtin(lambda arguments, _: comparing.less_or_equal(*arguments), 2, 2),
    "gt": Builtin(lambda arguments, _: not comparing.less_or_equal(*arguments), 2, 2),
    "ge": Builtin(lambda arguments, _: not comparing.less(*arguments), 2, 2),
    "json": Builtin(_json, 1, 1),
    "toTypeScriptType": Builtin(_type_script, 1, 1),
}
