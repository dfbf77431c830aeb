"""Values that a program makes up, to be copied: names, places, things, numbers, codes, dates, whole sentences.

Knows nothing of tasks. Made-up words exist nowhere; real ones come from the book's word lists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from training.book import Book
from training.grammar import Language

SYLLABLE_STARTS = (
    "b", "c", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "z",
    "br", "dr", "gr", "kl", "st", "tr", "sh", "ch",
)  # fmt: skip
SYLLABLE_ENDS = (
    "a", "e", "i", "o", "u", "a", "e", "o", "ai", "ou", "an", "er", "in", "on", "ul",
)  # fmt: skip
LETTERS = "asdfghjklqwertyuiopzxcvbnm"
# The 3,755 common characters, enumerated by their codes.
COMMON_HAN = [bytes((a, b)).decode("gb2312") for a in range(0xB0, 0xD7) for b in range(0xA1, 0xFA)]
SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰飞红建国文辉力宁梅山雪云海天春月星小子雨晨欣佳俊浩宇轩"
KANA = [chr(code) for code in (*range(0x3042, 0x308D), *range(0x30A2, 0x30ED))]
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
WEEKDAYS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期天"),
}


def made_up_word(rng: Random, language: Language) -> str:
    """A word that exists nowhere."""
    if language == "zh":
        return "".join(rng.choice(COMMON_HAN) for _ in range(rng.choice((1, 2, 2, 3))))
    word = "".join(rng.choice(SYLLABLE_STARTS) + rng.choice(SYLLABLE_ENDS) for _ in range(rng.choice((1, 2, 2, 3))))
    return word.capitalize() if rng.random() < 0.3 else word


def gibberish(rng: Random, language: Language) -> str:
    """What a cat on the keyboard types."""
    if rng.random() < 0.15:
        return rng.choice(
            ("?", "??", "...", "!", "!!!", ":)", ";-)", "-", "#", "/", "0", "1 2 3", "42", "%%%", "123456")
        )
    if language == "zh":
        return "".join(rng.choice(COMMON_HAN) for _ in range(rng.randint(3, 7)))
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 12)))


def syllables(rng: Random, low: int = 2, high: int = 3) -> str:
    """A made-up word in lower case."""
    count = rng.randint(low, high)
    return "".join(rng.choice(SYLLABLE_STARTS) + rng.choice(SYLLABLE_ENDS) for _ in range(count)) + rng.choice(
        ("", "", "n", "r", "s", "l", "k", "x", "m", "t", "y")
    )


def letters(rng: Random) -> str:
    """Letters without sense, in lower case."""
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(3, 9)))


def _han(rng: Random, low: int, high: int) -> str:
    return "".join(rng.choice(COMMON_HAN) for _ in range(rng.randint(low, high)))


def _listed(rng: Random, book: Book, language: Language, kind: str, held: bool) -> str:
    words = book.words[language][kind]
    return rng.choice(words.held if held else words.trained)


def name(rng: Random, book: Book, language: Language, held: bool = False) -> str:
    """A person's name."""
    if rng.random() < 0.2:
        return _listed(rng, book, language, "person", held)
    if language == "zh" and rng.random() < 0.85:
        given = "".join(
            rng.choice(GIVEN) if rng.random() < 0.6 else _han(rng, 1, 1) for _ in range(rng.choice((1, 2, 2)))
        )
        return rng.choice((rng.choice(SURNAMES), rng.choice(SURNAMES), "小", "老", "阿")) + given
    first = syllables(rng, 1, 3).capitalize()
    return f"{first} {syllables(rng).capitalize()}" if rng.random() < 0.15 else first


def place(rng: Random, book: Book, language: Language, held: bool = False) -> str:
    """A town, now and then with its country."""
    if rng.random() < 0.35:
        return _listed(rng, book, language, "place", held)
    if language == "zh":
        return _han(rng, 2, 3) + rng.choice(("", "", "市", "镇", "村", "县", "山"))
    first = syllables(rng).capitalize()
    shape = rng.random()
    if shape < 0.1:
        return f"{rng.choice(('San', 'New', 'Port', 'Lake', 'North', 'Saint'))} {first}"
    if shape < 0.18:
        return f"{first}, {rng.choice(('CA', 'NY', 'TX', syllables(rng).capitalize()))}"
    return first


def thing(rng: Random, book: Book, language: Language, held: bool = False) -> str:
    """An object."""
    if rng.random() < 0.55:
        return _listed(rng, book, language, "thing", held)
    if language == "zh":
        return _han(rng, 2, 2)
    return syllables(rng) if rng.random() < 0.7 else f"{_listed(rng, book, language, 'like', held)} {syllables(rng)}"


def subject(rng: Random, book: Book, language: Language, held: bool = False) -> str:
    """A topic, which may have several words."""
    if rng.random() < 0.5:
        return _listed(rng, book, language, "subject", held)
    return phrase(rng, book, language, held)


def phrase(rng: Random, book: Book, language: Language, held: bool = False) -> str:
    """Two to five words, with or without sense."""
    if rng.random() < 0.3:
        return _listed(rng, book, language, "act", held)
    if language == "zh":
        return _han(rng, 3, 8)
    makers = (
        syllables,
        lambda r: _listed(r, book, "en", "thing", held),
        lambda r: _listed(r, book, "en", "like", held),
    )
    return " ".join(rng.choice(makers)(rng) for _ in range(rng.randint(2, 4)))


def text(rng: Random, book: Book, language: Language, held: bool = False) -> str:
    """A short sentence, mostly of words without sense."""
    if rng.random() < 0.25:
        return _plain(rng, book, language, held)
    if language == "zh":
        return _han(rng, 4, 10) + rng.choice(("", "，" + _han(rng, 3, 6)))
    words = [phrase(rng, book, language, held) for _ in range(rng.randint(1, 3))]
    sentence = " ".join(words)
    return sentence.capitalize() if rng.random() < 0.5 else sentence


def _plain(rng: Random, book: Book, language: Language, held: bool) -> str:
    who, what = name(rng, book, language, held), thing(rng, book, language, held)
    act, where = _listed(rng, book, language, "act", held), place(rng, book, language, held)
    if language == "zh":
        return rng.choice((f"{who}带了{what}", f"我们在{where}见", f"别忘了{act}", f"{who}想{act}", f"我晚点到{where}"))
    return rng.choice((
        f"{who} has the {what}", f"I will be in {where}", f"we meet in {where} at {clock(rng)}",
        f"don't forget to {act}",
        f"{who} wants to {act}", f"see you at the {what}", f"please call {who}",
    ))  # fmt: skip


def colour(rng: Random, _book: Book, language: Language, _held: bool = False) -> str:
    """A colour, or a word that could be one."""
    known = {
        "en": "red blue green yellow black white purple orange pink brown grey silver",
        "zh": "红 蓝 绿 黄 黑 白 紫 橙 粉 棕 灰 银",
    }
    if language == "zh":
        return (rng.choice(known["zh"].split()) if rng.random() < 0.7 else _han(rng, 1, 1)) + "色"
    return rng.choice(known["en"].split()) if rng.random() < 0.7 else syllables(rng)


def number(rng: Random, *_: object) -> str:
    """A whole number of one to four digits."""
    return str(whole(rng))


def whole(rng: Random) -> int:
    """The same as an int; below zero now and then."""
    value = rng.choice(
        (rng.randrange(10), rng.randrange(100), rng.randrange(100), rng.randrange(1000), rng.randrange(10000))
    )
    return -value if value and rng.random() < 0.04 else value


def fraction(rng: Random) -> float:
    """A number with one or two decimals."""
    return round(rng.choice((rng.random() * 10, rng.random() * 100)), rng.choice((1, 1, 2))) + 0.0


def age(rng: Random, *_: object) -> str:
    """Years of age."""
    return str(rng.randint(3, 99))


def code(rng: Random, *_: object) -> str:
    """A password, an order's number, a version."""
    upper = "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 3))).upper()
    digits = "".join(str(rng.randrange(10)) for _ in range(rng.randint(2, 5)))
    return rng.choice((f"{upper}-{digits}", upper + digits, digits, f"{digits}{upper}", f"{upper}_{digits}"))


def date(rng: Random, language: Language = "en") -> str:
    """A day, in one of many forms."""
    month, day, year = rng.randrange(12), rng.randint(1, 28), rng.randint(1980, 2035)
    iso = f"{year}-{month + 1:02}-{day:02}"
    if language == "zh":
        return rng.choice(
            (iso, f"{month + 1}月{day}日", f"{year}年{month + 1}月{day}日", rng.choice(WEEKDAYS["zh"]), "明天", "今天")
        )
    return rng.choice(
        (
            iso,
            f"{MONTHS[month]} {day}",
            f"{day} {MONTHS[month]} {year}",
            rng.choice(WEEKDAYS["en"]),
            "tomorrow",
            "today",
        )
    )


def clock(rng: Random, *_: object) -> str:
    """A time of day."""
    hour, minute = rng.randrange(24), rng.choice((0, 0, 15, 30, 45, rng.randrange(60)))
    return rng.choice((f"{hour}:{minute:02}", f"{hour:02}:{minute:02}", f"{hour % 12 + 1} {rng.choice(('am', 'pm'))}"))


def email(rng: Random, *_: object) -> str:
    """An address."""
    user = syllables(rng, 1, 2) + rng.choice(("", str(rng.randrange(100)), "." + syllables(rng, 1, 2)))
    return f"{user}@{syllables(rng, 1, 2)}.{rng.choice(('com', 'org', 'net', 'cn', 'de', 'io'))}"


def foreign(rng: Random) -> str:
    """A name in letters of another script."""
    return "".join(rng.choice(KANA) for _ in range(rng.randint(2, 6))) if rng.random() < 0.5 else _han(rng, 2, 6)


def file(rng: Random) -> str:
    """A file's name or path."""
    stem = rng.choice(
        (syllables(rng), f"{syllables(rng, 1, 2)}/{syllables(rng)}", f"/{syllables(rng)}/{syllables(rng)}")
    )
    return stem + rng.choice((".txt", ".md", ".py", ".csv", ".json", ".log", ""))


def expression(rng: Random) -> str:
    """Arithmetic of two or three numbers."""
    terms = [str(abs(whole(rng))) for _ in range(rng.choice((2, 2, 3)))]
    sign = rng.choice((" {} ", " {} ", "{}"))
    return "".join(sign.format(rng.choice("+-*/")) + term if i else term for i, term in enumerate(terms))


Kind = Callable[[Random, Book, Language, bool], str]
KINDS: Mapping[str, Kind] = {
    "name": name,
    "place": place,
    "thing": thing,
    "subject": subject,
    "phrase": phrase,
    "text": text,
    "colour": colour,
    "number": number,
    "age": age,
    "code": code,
    "date": lambda rng, _book, language, _held: date(rng, language),
    "clock": clock,
    "email": email,
    "word": lambda rng, _book, language, _held: made_up_word(rng, language),
    "foreign": lambda rng, *_: foreign(rng),
    "file": lambda rng, *_: file(rng),
    "url": lambda rng, *_: (
        f"https://{syllables(rng, 1, 3)}.{rng.choice(('com', 'org', 'cn', 'net', 'io'))}"
        + rng.choice(("", "", f"/{syllables(rng)}"))
    ),
    "sum": lambda rng, *_: expression(rng),
}


def value(kind: str, rng: Random, book: Book, language: Language, held: bool = False) -> str:
    """A value of a kind."""
    return KINDS[kind](rng, book, language, held)


JSON_TYPES = {"int": "integer", "age": "integer", "float": "number", "list": "array"}
_SWITCH: Mapping[Language, tuple[tuple[str, bool], ...]] = {
    "en": (("on", True), ("off", False)),
    "zh": (("打开", True), ("开", True), ("关掉", False), ("关上", False)),
}


def json_type(kind: str) -> str:
    """The type in a JSON schema of values of a kind."""
    return "boolean" if kind.startswith("bool") else JSON_TYPES.get(kind, "string")


def said(
    kind: str,
    rng: Random,
    book: Book,
    language: Language,
    held: bool = False,
    words: Mapping[Language, tuple[tuple[str, Any], ...]] | None = None,
) -> tuple[str, Any]:
    """A value as a user says it, and as JSON holds it; `words` are the pairs of kinds that have only a few."""
    if words or kind == "bool":
        return rng.choice((words or _SWITCH)[language])
    if kind == "int":
        number = whole(rng)
        return str(number), number
    if kind == "age":
        years = rng.randint(3, 99)
        return str(years), years
    if kind == "float":
        decimal = fraction(rng)
        return str(decimal), decimal
    if kind == "list":
        things = [thing(rng, book, language, held) for _ in range(rng.choice((2, 2, 3, 3, 4)))]
        comma, last = ("、", "和") if language == "zh" else (", ", " and ")
        return comma.join(things[:-1]) + last + things[-1], things
    text_ = value(kind, rng, book, language, held)
    return text_, text_
