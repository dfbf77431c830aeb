"""Strings and characters in quotes, as strconv.Quote writes them."""

from __future__ import annotations

from puna.chat.gotemplate.text import joined

_SIMPLE = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def quoted(text: str, *, quote: str = '"', ascii_only: bool = False) -> str:
    """The text in quotes, with escapes where a character cannot be seen (or is not ASCII)."""
    return quote + "".join(_escaped(char, quote, ascii_only) for char in joined(text)) + quote


def backquoted(text: str) -> str | None:
    """The text in back quotes; None where that cannot be."""
    if any(char in "`\x7f\ufeff" or (char < " " and char != "\t") or "\ud800" <= char <= "\udfff" for char in text):
        return None
    return f"`{text}`"


def character(code: int, *, ascii_only: bool = False) -> str:
    """A character in quotes."""
    return quoted(rune(code), quote="'", ascii_only=ascii_only)


def rune(code: int) -> str:
    """The character of a code point; U+FFFD where there is none."""
    return chr(code) if 0 <= code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF else "\ufffd"


def _escaped(char: str, quote: str, ascii_only: bool) -> str:
    code = ord(char)
    if char in (quote, "\\"):
        return "\\" + char
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if char.isprintable() and (char.isascii() or not ascii_only):
        return char
    if char in _SIMPLE:
        return _SIMPLE[char]
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
