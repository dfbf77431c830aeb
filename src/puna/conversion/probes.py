"""Texts that tell tokenizers apart: what differs between two of them differs on one of these."""

from __future__ import annotations

import unicodedata
from functools import cache

TEXTS = (
    "",
    " ",
    "\n",
    "  two  three   blanks    ",
    "\t\ttabs \t and\r\nlines\n\n\nfour\n \n  \n",
    "It's we're THEY'LL I'D don'T 's 'S ''ll 'x I'Ve a'Re",
    "Hello, World! (really?) [no] {yes} <tag/> a_b-c.d/e\\f|g~h`i^j @k #l $5 %6 &7 *8 +9 =10",
    "0 1 12 123 1234 12345 123456 1234567 3.14 1,000,000 1e-9 \u0663\u0664 \u00bd \u2164 \u0967\u0968",
    "camelCase HTTPServer XMLHttpRequest snake_case SCREAMING_CASE \u00c0\u00c9\u00ce\u00d5 \u00c9COLE Stra\u00dfe",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u65e5\u672c\u8a9e\u3068\u30ab\u30bf\u30ab\u30ca\u3001\ud55c\uad6d\uc5b4",
    "\u041f\u0440\u0438\u0432\u0435\u0442 \u0395\u03bb\u03bb\u03ac\u03b4\u03b1",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u1797\u17b6\u179f\u17b6",
    "\u4e2d\u6587English\u6df7\u5408\u0441\u043c\u0435\u0441\u044c123abc\u4e2d",
    "e\u0301 \u00e9 A\u030a \u212b \ufb01 \u01c6 \u0130 \u017f '\u017f \u1e9b\u0323 \u1100\u1161\u11a8",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e8\U0001f1f3 \U0001f44d\U0001f3fd \u2764\ufe0f",
    "\u00a0nbsp\u2003em\u3000wide\u200bzero\ufeffbom\u2028line\u0085next\u00ad",
    "\x00\x01\x1b[31m\x7f\x80 \ufffd \ue000 \U0010ffff",
    "\u2581 \u2581\u2581word \u0120hello \u010a ## ##ing <0x0A> <s> </s> <unk> <|im_start|> [INST]",
    "def f(x):\n    return x**2  # comment\n\n\nclass A:\n\tpass\n\t\t\tdeep\n",
    "https://example.org/a/b?c=d&e=%20f#g user@host //// .... ---- ==== !!!!",
    " " * 70 + "x" + "\n" * 40 + "\t" * 33 + "a" * 100 + "1" * 50 + "!" * 60,
)

_STEPS = ((0, 0x600, 1), (0x600, 0x3400, 4), (0x3400, 0x20000, 32))  # from, to, one in so many


@cache
def every_character() -> str:
    """Characters of all kinds among letters, digits and blanks."""
    characters = (chr(code) for begin, end, step in _STEPS for code in range(begin, end, step))
    return "".join(f"a{c}b {c}{c} 1{c}" for c in characters if unicodedata.category(c) not in ("Cs", "Cn"))
