"""Constants as Go writes them: numbers, characters and strings.

Source: the Go specification ("Lexical elements") and the documentation of strconv.
"""

from __future__ import annotations

import re

from puna.chat.gotemplate.text import from_bytes

_INTEGER = re.compile(
    r"([+-]?)(?:0[xX]((?:_?[0-9a-fA-F])+)|0[oO]?((?:_?[0-7])+)|0[bB]((?:_?[01])+)|([1-9](?:_?[0-9])*|0))"
)
_DECIMAL = re.compile(r"[+-]?(?:\d(?:_?\d)*\.?(?:\d(?:_?\d)*)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d+)?")
_HEX_FLOAT = re.compile(r"[+-]?0[xX]_?(?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?\d+")
_COMPLEX = re.compile(r"(.*[^eEpP+-])([+-].*)i")
_ESCAPE = re.compile(r"\\(?:([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_LARGEST = (1 << 63) - 1


def number(text: str) -> int | float | complex:
    """The value of a number's text. Raises ValueError with what is wrong."""
    if text.endswith("i"):
        return _imaginary(text)
    integer = _integer(text)
    if integer is not None:
        if -_LARGEST - 1 <= integer <= _LARGEST:
            return integer
        raise ValueError(f"integer overflow: {text[:40]!r}")
    if not any(char in text for char in ".eEpP"):
        raise ValueError(f"illegal number syntax: {text[:40]!r}")
    return _float(text)


def character(text: str) -> int:
    """The code point of a quoted character."""
    inner = text[1:-1]
    if "'" in inner.replace("\\\\", "").replace("\\'", ""):
        raise ValueError(f"malformed character constant: {text[:40]}")
    value = _unescape(inner, "'")
    if len(value) == 1:
        code = ord(value)
        return code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code
    raise ValueError(f"malformed character constant: {text[:40]}")


def string(text: str) -> str:
    """The text of a quoted string; of a raw one, all but its carriage returns."""
    if text[0] == "`":
        return text[1:-1].replace("\r", "")
    return _unescape(text[1:-1], '"')


def _unescape(text: str, quote: str) -> str:
    def value(match: re.Match[str]) -> str:
        octal, byte, short, long, char = match.groups()
        if octal or byte:
            code = int(octal, 8) if octal else int(byte, 16)
            if code > 255:
                raise ValueError(f"invalid escape {match[0]!r}")
            return chr(code) if code < 0x80 else chr(0xDC00 + code)
        if short or long:
            code = int(short or long, 16)
            if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                raise ValueError(f"invalid escape {match[0]!r}")
            return chr(code)
        if char == quote:
            return quote
        if char in _SIMPLE:
            return _SIMPLE[char]
        raise ValueError(f"invalid escape {match[0]!r}")

    unescaped = _ESCAPE.sub(value, text)
    return from_bytes(unescaped.encode("utf-8", "surrogateescape"))


def _integer(text: str) -> int | None:
    match = _INTEGER.fullmatch(text)
    if match is None:
        return None
    sign, *digits = match.groups()
    base, found = next((base, each) for base, each in zip((16, 8, 2, 10), digits, strict=True) if each)
    if len(found) > 100:
        raise ValueError(f"integer overflow: {text[:40]!r}")
    value = int(found.replace("_", ""), base)
    return -value if sign == "-" else value


def _float(text: str) -> float:
    if _HEX_FLOAT.fullmatch(text):
        try:
            return float.fromhex(text)
        except OverflowError:
            raise ValueError(f"illegal number syntax: {text[:40]!r}") from None
    # Go takes underscores in numbers only where a base prefix shows them to be digits.
    if "_" in text or not _DECIMAL.fullmatch(text) or abs(value := float(text)) == float("inf"):
        raise ValueError(f"illegal number syntax: {text[:40]!r}")
    return value


def _imaginary(text: str) -> complex:
    both = _COMPLEX.fullmatch(text)
    return complex(_part(both[1]), _part(both[2])) if both else complex(0, _part(text[:-1]))


def _part(text: str) -> float:
    """A part of a complex number, in which 010 is ten."""
    if text.strip("+-").isdigit():
        return float(text)
    integer = _integer(text)
    return _float(text) if integer is None else float(integer)
