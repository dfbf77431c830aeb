"""Nasty texts for tokenizers: fixed ones, and seeded random ones."""

from __future__ import annotations

import random

NASTY = (
    "",
    " ",
    "\n",
    "\t",
    "  ",
    "   leading",
    "trailing   ",
    "a  b   c    d",
    "tabs\t\there\t\n\t\tand\r\nthere\r\rnewlines\n\n\n\nfour",
    " \n \n\n  \t x \u3000y\u00a0z\u2003w\u200bv\ufeffu",
    "Hello, World! It's we're THEY'LL I'D don'T 'S ''s 'x",
    "0 1 12 123 1234 12345 123456 1234567 3.14159 1,000,000 \u0663\u0664 \u00bd \u2164 \u0967\u0968\u0969",
    "你会说中文吗？我能吞下玻璃而不伤身体。",
    "日本語テキスト、カタカナ・ひらがな。한국어 텍스트 그리고 ᄒᆞᆫ글",
    "Привет мир Ελληνικά עברית العربية हिन्दी ไทย தமிழ் ខ្មែរ မြန်မာ ქართული Հայերեն",
    "mixed混合mixedсмешанныйmixedخليطend",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
    "\U0001f1e8\U0001f1f3\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd",
    "\u2764\ufe0f \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "e\u0301 \u00e9 A\u030a \u212b \u1e9b\u0323 \ufb01 \u01c6 \u0130 \u017f '\u017f",
    "camelCase HTTPServer XMLHttpRequest snake_case SCREAMING_CASE kebab-case ÀÉÎõüñ ÉCOLE Straße",
    "def f(x):\n    return x**2  # comment\n\n\nclass A:\n\tpass\n",
    "https://example.org/a/b?c=d&e=%20f#g user@host C:\\path\\to //// \\\\\\\\ ......... ------ =====",
    "<s> </s> <unk> <pad> [CLS] [SEP] [MASK] [PAD] [INST] [/INST] <<SYS>> <0x0A> <0xFF>",
    "<|im_start|>user\nhi<|im_end|><|endoftext|><|eot_id|><|begin_of_text|><bos><eos><start_of_turn><end_of_turn>",
    "<|im_end <|im_end|| |im_end|> <|im_end|>>  <|im_start|>  x <| im_end |> <|IM_END|>",
    "\x00\x01\x02\x07\x08\x0b\x0c\x1b[31m\x7f\x80\x9f\u2028\u2029",
    "\ufffd\ufffe\uffff\U0010ffff\ue000 \u202etfel\u202c \u0300\u0301\u0302 \u00ad",
    "\u2581 \u2581\u2581word \u0120hello \u010a ## ##ing \u2581<s>",
    "Z\u0351\u036b\u0343a\u0344\u0356l\u0338\u0321g\u0322o\u0323 text",
    "a" * 300,
    " " * 70 + "x" + "\n" * 40 + "\t" * 33,
    "的" * 120 + "1" * 50 + "!" * 60,
)

_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghij",
    "0123456789",
    " \t\n\r",
    "    \n\n",
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "'sStTrReEvVmMlLdD ",
    "的一是不了人我在有他这为之大来以个中上们到说国和地也子时道出而要于就下得可你年生",
    "あいうえおかきくけこアイウエオカキクケコー。、「」",
    "가나다라마바사아자차카타파하",
    "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГД",
    "αβγδεζηθικλμνξοπρστυφχψωάέήίόύώ",
    "אבגדהוזחטיכלמנ ابتثجحخدذرزسشصضطظعغفق",
    "कखगघङचछजझञािीुूेैोौं्",
    "กขฃคฅฆงจฉชซฌญฎฏ่้๊๋ะาำ",
    "\U0001f600\U0001f468\u200d\U0001f469\U0001f3fd\ufe0f\U0001f1e8\U0001f1f3\u2764",
    "\u00a0\u2003\u3000\u200b\u2028\u2581\u00ad",
    "àéîõüñçßøåÀÉÎÕÜÑÇØÅœŒ\u0301\u0308",
    "½²³ⅣⅫ①٣٤१२३",
)


def fuzz(seed: int, count: int) -> list[str]:
    """`count` texts of random runs over the alphabets; the same for the same seed."""
    source = random.Random(seed)
    return [_text(source) for _ in range(count)]


def _text(source: random.Random) -> str:
    runs = []
    for _ in range(source.randint(1, 8)):
        alphabet = source.choice(_ALPHABETS)
        runs.append("".join(source.choices(alphabet, k=source.randint(1, 9))))
        runs.append(source.choice(("", "", " ")))
    return "".join(runs)
