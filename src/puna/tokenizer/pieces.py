"""The bytes each token stands for.

Knows the ways a vocabulary writes bytes as text: GPT-2's byte alphabet, SentencePiece's U+2581 for a blank,
`<0xNN>` for a single byte, and BERT's `##`.
"""

from __future__ import annotations

import re
from functools import cache

BLANK = "\u2581"  # SentencePiece's visible blank
BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@cache
def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes: printable Latin-1 is itself, the rest is U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(256 + n): byte for n, byte in enumerate(others)}


@cache
def _byte_characters() -> dict[int, int]:
    """For `str.translate`: stand-ins become the Latin-1 character of their byte, others leave Latin-1."""
    foreign = {code: 0x10_0000 + code for code in range(256)}
    return foreign | {ord(char): byte for char, byte in byte_alphabet().items()}


def byte_level_bytes(text: str) -> bytes:
    """The bytes of a byte-level BPE token. Characters outside the alphabet stand for their own UTF-8."""
    try:
        return text.translate(_byte_characters()).encode("latin-1")
    except UnicodeEncodeError:
        alphabet = byte_alphabet()
        return b"".join(bytes([alphabet[char]]) if char in alphabet else char.encode() for char in text)


def sentencepiece_bytes(text: str) -> bytes:
    """The bytes of a SentencePiece token: U+2581 is a blank."""
    return text.replace(BLANK, " ").encode()


def byte_token_byte(text: str) -> bytes | None:
    """The byte that `<0xNN>` names, or None if `text` is not of that form."""
    match = BYTE_TOKEN.fullmatch(text)
    return bytes([int(match[1], 16)]) if match else None


def wordpiece_bytes(text: str) -> bytes:
    """The bytes of a WordPiece token in BERT's own spelling: `##` goes on with a word, others begin one."""
    return text[2:].encode() if text.startswith("##") else b" " + text.encode()
