"""What the string methods, filters and operators of a chat template may produce, in bytes, before they run.

Only these methods and filters exist for templates: what is not listed here is refused. The size of a result that
is no larger than a few times its operands needs no price: it is paid for afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from puna.chat.meter import MAX_INT_BITS, LimitExceeded, Meter, flat_size

Arguments = Sequence[object]
Named = Mapping[str, object]
Price = Callable[[Meter, object, Arguments, Named], int]

ITEM_BYTES = 64
"""About what one more item of a list of small strings takes."""

MAX_WIDTH = 9999
"""Widths and precisions in format strings have at most four digits."""


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


METHODS: Mapping[type, frozenset[str]] = {
    str: names(
        "capitalize casefold center count endswith expandtabs find format format_map index isalnum isalpha isascii"
        " isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower"
        " lstrip partition removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split"
        " splitlines startswith strip swapcase title upper zfill"
    ),
    dict: names("copy get items keys values"),
    list: names("copy count index"),
    tuple: names("count index"),
    range: names("count index"),
    int: frozenset(["bit_length"]),
    float: frozenset(["is_integer"]),
}
"""The methods of built-in values, none of which changes its object."""


def _argument(position: int, name: str, args: Arguments, kwargs: Named) -> object:
    return args[position] if position < len(args) else kwargs.get(name)


def _width(_meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    width = _argument(0, "width", args, kwargs)
    return flat_size(value) + 4 * width if isinstance(width, int) and width > 0 else flat_size(value)


def _tabs(_meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    size = _argument(0, "tabsize", args, kwargs)
    return flat_size(value) + str(value).count("\t") * (size if isinstance(size, int) else 8)


def _pieces(_meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    separator = _argument(0, "sep", args, kwargs)
    text = str(value)
    pieces = text.count(separator) + 1 if isinstance(separator, str) and separator else len(text) // 2 + 1
    return flat_size(text) + pieces * ITEM_BYTES


def _replaced(_meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    old, new = _argument(0, "old", args, kwargs), _argument(1, "new", args, kwargs)
    return flat_size(value) + str(value).count(str(old)) * flat_size(str(new))


def _joined(meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    """`separator.join(items)`."""
    items = _argument(0, "iterable", args, kwargs)
    count = len(items) if isinstance(items, (str, list, tuple, dict)) else 0
    return meter.deep_size(items) + count * flat_size(value)


def _joined_filter(meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    """`items|join(separator)`."""
    separator = _argument(0, "d", args, kwargs)
    return _joined(meter, "" if separator is None else separator, [value], {})


def _indented(_meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    width = _argument(0, "width", args, kwargs)
    by = width if isinstance(width, int) else len(width) if isinstance(width, str) else 4
    return flat_size(value) + (len(str(value).splitlines()) + 1) * 4 * max(0, by)


def _formatted(meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    """`"%s ..." % args`, whose widths may also come from the arguments (`%*d`)."""
    text = str(value)
    if re.search(r"\d{5}|%[-+ #0-9.]*\*", text):
        raise LimitExceeded(f"its format string {text[:60]!r} has a width above {MAX_WIDTH} or one taken from data")
    return flat_size(text) + text.count("%") * (meter.deep_size([*args, *kwargs.values()]) + MAX_WIDTH)


def _braces_formatted(meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    """`"{} ...".format(...)`, whose widths may also come from the arguments (`{:{}}`)."""
    text = str(value)
    if re.search(r"\d{5}|\{[^{}]*\{", text.replace("{{", "").replace("}}", "")):
        raise LimitExceeded(f"its format string {text[:60]!r} has a width above {MAX_WIDTH} or one taken from data")
    return flat_size(text) + text.count("{") * (meter.deep_size([*args, *kwargs.values()]) + MAX_WIDTH)


def _rows(_meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    count = args[0] if args else next(iter(kwargs.values()), 0)
    return flat_size(value) + ITEM_BYTES * (count if isinstance(count, int) and count > 0 else 0)


def _characters(_meter: Meter, value: object, _args: Arguments, _kwargs: Named) -> int:
    return flat_size(value) + ITEM_BYTES * (len(value) if isinstance(value, str) else 0)


def _numbers(_meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    if not isinstance(start := kwargs.get("start", args[1] if len(args) > 1 else 0), (int, float)):
        raise LimitExceeded(f"it sums values that are not numbers ({type(start).__name__})")
    return flat_size(value)


def _rounded(_meter: Meter, value: object, args: Arguments, kwargs: Named) -> int:
    precision = _argument(0, "precision", args, kwargs)
    if isinstance(precision, int) and abs(precision) > 100:
        raise LimitExceeded(f"it rounds to {precision} digits")
    return flat_size(value)


METHOD_PRICES: Mapping[str, Price] = {
    "center": _width,
    "ljust": _width,
    "rjust": _width,
    "zfill": _width,
    "expandtabs": _tabs,
    "split": _pieces,
    "rsplit": _pieces,
    "splitlines": _pieces,
    "replace": _replaced,
    "join": _joined,
    "format": _braces_formatted,
    "format_map": _braces_formatted,
}

LAZY_FILTERS = names("attr count d default first items last length map reject rejectattr select selectattr")
"""These look at no more than one item at a time, or at none."""

FILTERS = LAZY_FILTERS | names(
    "abs batch capitalize center dictsort e escape filesizeformat float forceescape format groupby indent int join"
    " list lower max min replace reverse round safe slice sort string sum title tojson trim truncate unique upper"
    " urlencode wordcount"
)
"""Jinja's filters, less those that are quadratic, random, or only for HTML pages."""

FILTER_PRICES: Mapping[str, Price] = {
    "batch": _rows,
    "slice": _rows,
    "center": _width,
    "format": _formatted,
    "indent": _indented,
    "join": _joined_filter,
    "list": _characters,
    "replace": _replaced,
    "round": _rounded,
    "sum": _numbers,
    "wordcount": _characters,
}


def operator_price(meter: Meter, operator: str, left: object, right: object) -> int:
    """What `left operator right` may produce; raises `LimitExceeded` for numbers that grow out of hand."""
    if operator == "+":
        return flat_size(left) + flat_size(right)
    if operator == "%" and isinstance(left, str):
        return _formatted(meter, left, [right], {})
    if operator == "*":
        return _repeated(left, right)
    if operator == "**" and isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() * max(right, 0))
    return ITEM_BYTES


def _repeated(left: object, right: object) -> int:
    if isinstance(left, int) and isinstance(right, int):
        _check_bits(left.bit_length() + right.bit_length())
        return ITEM_BYTES
    sequence, times = (right, left) if isinstance(left, int) else (left, right)
    return flat_size(sequence) * max(times, 0) if isinstance(times, int) else ITEM_BYTES


def _check_bits(bits: int) -> None:
    if bits > MAX_INT_BITS:
        raise LimitExceeded(f"it computes an integer of {bits} bits")
