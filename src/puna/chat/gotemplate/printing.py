"""Values as text: Go's fmt.Sprint and Sprintf. Formats are read by `printf`.

Source: the documentation of package fmt ("Printing"), with its texts for what goes wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from puna.chat.gotemplate import numbers, quoting
from puna.chat.gotemplate.text import size, to_bytes
from puna.chat.gotemplate.values import NO_VALUE, Byte, Map, Slice, Struct, method, type_name

Spend = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Verb:
    """What follows a percent sign. `go_syntax` is `%#v`, `with_names` is `%+v`."""

    char: str = "v"
    sharp: bool = False
    zero: bool = False
    plus: bool = False
    minus: bool = False
    space: bool = False
    width: int | None = None
    precision: int | None = None
    go_syntax: bool = False
    with_names: bool = False


PLAIN = Verb()

ESCAPING = 16
"""Bytes that escaping a character costs: it takes as long as copying so many."""


def sprint(values: Sequence[object], spend: Spend) -> str:
    """Spaces come between operands of which neither is a string."""
    parts: list[str] = []
    previous_string = True
    for count, value in enumerate(values):
        is_string = isinstance(value, str)
        if count and not is_string and not previous_string:
            parts.append(" ")
        parts.append(formatted(value, PLAIN, spend))
        previous_string = is_string
    return "".join(parts)


def sprintln(values: Sequence[object], spend: Spend) -> str:
    """Spaces between all operands, and a new line."""
    return " ".join(formatted(value, PLAIN, spend) for value in values) + "\n"


def printable(value: object) -> object:
    """What an action or an escaping function prints in place of the value."""
    if isinstance(value, Struct) and value.pointer:
        return replace(value, pointer=False)
    return "<no value>" if value is NO_VALUE or value is None else value


def formatted(value: object, verb: Verb, spend: Spend) -> str:
    """The value as the verb writes it. `spend` is called for each piece before it is made."""
    return _Printer(verb, spend).argument(value)


def bad_verb(value: object, verb: Verb, spend: Spend) -> str:
    """What stands for a value that the verb cannot write."""
    if value is None or value is NO_VALUE:
        return f"%!{verb.char}(<nil>)"
    written = _Printer(replace(verb, char="v"), spend, methods=False).argument(value)
    return f"%!{verb.char}({type_name(value)}={written})"


class _Printer:
    """`methods` False: values do not print themselves."""

    def __init__(self, verb: Verb, spend: Spend, *, methods: bool = True) -> None:
        self._verb = verb
        self._spend = spend
        self._methods = methods

    def argument(self, value: object) -> str:
        if self._verb.char == "T":
            return self._text("<nil>" if value is None or value is NO_VALUE else type_name(value))
        if value is None or value is NO_VALUE:
            return self._text_padded("<nil>") if self._verb.char == "v" else bad_verb(None, self._verb, self._spend)
        return self._value(value)

    def _value(self, value: object) -> str:
        """The value, at any depth."""
        own = self._by_method(value)
        if own is not None:
            return own
        if isinstance(value, bool):
            return self._bool(value)
        if isinstance(value, int):
            return self._integer(value)
        if isinstance(value, float):
            return self._float(value)
        if isinstance(value, complex):
            return self._complex(value)
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, Slice):
            return self._slice(value)
        if isinstance(value, Map):
            return self._map(value)
        if isinstance(value, Struct):
            return self._struct(value)
        return "interface {}(nil)" if self._verb.go_syntax else "<nil>"

    def _by_method(self, value: object) -> str | None:
        if self._verb.char == "w" and isinstance(value, (Slice, Map, Struct)):  # only for errors
            return self._bad(value)
        if not self._methods or self._verb.go_syntax or self._verb.char not in "vsxXq":
            return None
        string = method(value, "String")
        return None if string is None else self._string(str(string(value)))

    # Basic values.

    def _bool(self, value: bool) -> str:
        return self._text_padded("true" if value else "false") if self._verb.char in "tv" else self._bad(value)

    def _string(self, value: str) -> str:
        verb = self._verb
        if verb.char == "s" or (verb.char == "v" and not verb.go_syntax):
            return self._text(value)
        if verb.char in ("v", "q"):
            return self._quoted(value)
        if verb.char in ("x", "X"):
            return self._hex_bytes(to_bytes(value))
        return self._bad(value)

    def _quoted(self, value: str) -> str:
        value = self._truncated(value)
        self._spend(ESCAPING * len(value))
        in_back_quotes = quoting.backquoted(value) if self._verb.sharp else None
        return self._padded(in_back_quotes or quoting.quoted(value, ascii_only=self._verb.plus))

    def _integer(self, value: int) -> str:
        verb = self._verb
        match verb.char:
            case "v" if verb.go_syntax and isinstance(value, Byte):
                return self._digits(value, 16, sharp=True)
            case "v" | "d":
                return self._digits(value, 10, sharp=verb.sharp)
            case "b" | "o" | "O" | "x" | "X":
                return self._digits(value, {"b": 2, "x": 16, "X": 16}.get(verb.char, 8), sharp=verb.sharp)
            case "c":
                return self._padded(quoting.rune(numbers.unsigned_64(value)))
            case "q":
                return self._padded(quoting.character(numbers.unsigned_64(value), ascii_only=verb.plus))
            case "U":
                return self._unicode(numbers.unsigned_64(value))
        return self._bad(value)

    def _digits(self, value: int, base: int, *, sharp: bool) -> str:
        verb = self._verb
        sign = "-" if value < 0 else "+" if verb.plus else " " if verb.space else ""
        least = verb.precision or 0
        if verb.precision == 0 and value == 0:
            return self._padded("", zero=False)
        if verb.precision is None and verb.zero and not verb.minus and verb.width is not None:
            least = verb.width - len(sign)
        self._spend(least)
        digits = numbers.base_text(value, base).rjust(least, "0")
        if sharp and (base != 8 or digits[0] != "0"):
            digits = {2: "0b", 8: "0", 16: "0x", 10: ""}[base] + digits
        if verb.char == "O":
            digits = "0o" + digits
        return self._padded(sign + (digits.upper() if verb.char == "X" else digits), zero=False)

    def _unicode(self, code: int) -> str:
        least = max(4, self._verb.precision or 0)
        self._spend(least)
        text = "U+" + format(code, "X").rjust(least, "0")
        char = quoting.rune(code)
        if self._verb.sharp and ord(char) == code and char.isprintable():
            text += f" '{char}'"
        return self._padded(text, zero=False)

    def _float(self, value: float, *, signed: bool = False) -> str:
        verb = self._verb
        char, precision = {"v": "g", "F": "f"}.get(verb.char, verb.char), verb.precision
        if char not in "bgGxXfeE":
            return self._bad(value)
        sign = "-" if math.copysign(1.0, value) < 0 else "+" if verb.plus or signed else " " if verb.space else ""
        if not math.isfinite(value):
            if math.isnan(value):
                return self._padded(sign.replace("-", "") + "NaN", zero=False)
            return self._padded((sign or "+") + "Inf", zero=False)
        if precision is None and char in "feE":
            precision = 6
        self._spend((precision or 0) + 400)
        digits = numbers.unsigned(value, char, precision)
        if verb.sharp and char != "b":
            digits = _with_point(digits, char, precision)
        width = verb.width or 0
        if sign and verb.zero and not verb.minus and width > len(sign + digits):
            self._spend(width)
            return sign + digits.rjust(width - 1, "0")
        return self._padded(sign + digits)

    def _complex(self, value: complex) -> str:
        if self._verb.char not in "vbgGxXfFeE":
            return self._bad(value)
        return f"({self._float(value.real)}{self._float(value.imag, signed=True)}i)"

    # Composite values.

    def _slice(self, value: Slice) -> str:
        items = value.items or ()
        if self._verb.go_syntax:
            return value.type.name + ("(nil)" if value.items is None else f"{{{self._all(items, ', ')}}}")
        if isinstance(items, bytes) and self._verb.char in "sqxX":
            return self._hex_bytes(items) if self._verb.char in "xX" else self._string(items.decode("utf-8", "replace"))
        return f"[{self._all(items, ' ')}]"

    def _all(self, items: Sequence[object], separator: str) -> str:
        values = [Byte(item) for item in items] if isinstance(items, bytes) else items
        return separator.join([self._value(value) for value in values])

    def _map(self, value: Map) -> str:
        if self._verb.go_syntax and value.items is None:
            return f"{value.type.name}(nil)"
        separator = ", " if self._verb.go_syntax else " "
        inner = separator.join([f"{self._string(key)}:{self._value(item)}" for key, item in value.entries()])
        return f"{value.type.name}{{{inner}}}" if self._verb.go_syntax else f"map[{inner}]"

    def _struct(self, value: Struct) -> str:
        verb = self._verb
        named = verb.go_syntax or verb.with_names
        parts = [
            (f"{attribute.name}:" if named else "") + self._value(item)
            for attribute, item in zip(value.type.attributes, value.values, strict=True)
        ]
        name = value.type.name if verb.go_syntax else ""
        return f"{'&' * value.pointer}{name}{{{(', ' if verb.go_syntax else ' ').join(parts)}}}"

    # Pieces.

    def _bad(self, value: object) -> str:
        return bad_verb(value, self._verb, self._spend)

    def _text(self, text: str) -> str:
        return self._text_padded(self._truncated(text))

    def _truncated(self, text: str) -> str:
        return text if self._verb.precision is None else text[: self._verb.precision]

    def _text_padded(self, text: str) -> str:
        self._spend(size(text))
        return self._padded(text)

    def _padded(self, text: str, *, zero: bool = True) -> str:
        width = self._verb.width or 0
        if width <= len(text):
            return text
        self._spend(width)
        if self._verb.minus:
            return text.ljust(width)
        return text.rjust(width, "0" if zero and self._verb.zero else " ")

    def _hex_bytes(self, data: bytes) -> str:
        verb = self._verb
        data = data if verb.precision is None else data[: verb.precision]
        self._spend(5 * len(data))
        prefix = "0x" if verb.sharp and data else ""
        text = prefix + data.hex() if not verb.space else " ".join(f"{prefix}{byte:02x}" for byte in data)
        return self._padded(text.upper() if verb.char == "X" else text)


def _with_point(digits: str, char: str, precision: int | None) -> str:
    """What the flag # makes of a float: it has a point, and %g keeps its zeros."""
    mantissa, exponent, tail = digits.partition(next((each for each in digits if each in _EXPONENTS[char]), "\0"))
    wanted = (6 if precision is None else precision) if char in "gGx" else 0
    significant = mantissa.replace(".", "").lstrip("0")
    missing = wanted - len(significant) - (mantissa == "0")
    return mantissa + ("" if "." in mantissa else ".") + "0" * max(0, missing) + exponent + tail


_EXPONENTS = {"x": "p", "X": "P"} | dict.fromkeys("eEfgG", "eE")
