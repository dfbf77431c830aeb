'''Modelfiles: Ollama's recipe for a model, read and written.

One instruction and its value a line; `#` begins a comment. A value goes to the end of its line, or stands in `"` or
`"""`, which may span lines; a quote closes a value only where a line ends. There are no escapes. Follows Ollama's
parser (parser/parser.go), except that it drops characters that cannot be printed, and counts two lines for each CRLF.

Knows nothing of what the values stand for: paths are not opened here, parameters have no type (`parameters`).
'''

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Self

from puna.errors import InvalidRequest

MAX_BYTES = 16 << 20  # of a Modelfile: a few of the largest texts that a model may have (`manifest.MAX_TEXT`)
MAX_INSTRUCTIONS = 10_000

# In the order in which Ollama's message lists them.
NAMES = (
    "from", "license", "template", "system", "adapter", "draft", "renderer", "parser", "parameter", "message",
    "requires",
)  # fmt: skip
ROLES = ("system", "user", "assistant")

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
# What Go's strings.TrimSpace removes; Python's strip() removes four control characters more.
_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_INLINE = "".join(sorted(set(_SPACE) - set("\r\n")))

_BETWEEN = re.compile(r"(?:[ \t\r\n]++|#[^\r\n]*+)*+")  # instructions
_BLANKS = re.compile(f"[{_INLINE}]*+")
_WORD = re.compile(r"[^ \t\r\n]*+")
_LINE_END = re.compile(r"\r\n?|\n")
_BARE = re.compile(r"[^\r\n]*+")
# The quotes that close a value: those at the end of a line.
_CLOSE = {quote: re.compile(rf"{quote}[{_INLINE}]*+(?=[\r\n]|\Z)") for quote in ('"', '"""')}
_PARAMETER = re.compile(r"[A-Za-z0-9_]+")
_LETTERS = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of the recipe. Raises InvalidRequest where no Modelfile could say it."""

    name: str  # one of NAMES
    value: str
    key: str = ""  # the parameter's name; the message's role
    line: int = field(default=0, compare=False)  # where it begins; 0: it was not read from a text

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise _error(self.line, f"command must be one of {_either(NAMES)}")
        if self.name == "message" and self.key not in ROLES:
            raise _error(self.line, f"message role must be one of {_either(ROLES)}")
        if self.name == "parameter" and not _PARAMETER.fullmatch(self.key):
            raise _error(self.line, f"unknown parameter {self.key!r}")
        if self.name not in ("parameter", "message") and self.key:
            raise ValueError(f"{self.name} has no key")

    def __str__(self) -> str:
        return " ".join(part for part in (self.name.upper(), self.key, _quoted(self.value)) if part)

    @property
    def expressible(self) -> bool:
        """Whether a Modelfile can hold the value: not where a line in it ends in three quotes and others follow."""
        return _quote_of(self.value) is not None


@dataclass(frozen=True, slots=True)
class Modelfile:
    """The instructions, in order. `parse(str(modelfile))` is the same Modelfile."""

    instructions: tuple[Instruction, ...]

    @classmethod
    def parse(cls, source: str | bytes) -> Self:
        """Read a Modelfile; bytes are UTF-8, or UTF-16 with a byte order mark.

        Raises:
            InvalidRequest: with Ollama's words, and the number of the line where there is one.
        """
        instructions = tuple(islice(_read(_decoded(source)), MAX_INSTRUCTIONS + 1))
        if len(instructions) > MAX_INSTRUCTIONS:
            raise InvalidRequest(f"the Modelfile has more than {MAX_INSTRUCTIONS} instructions")
        if not any(instruction.name == "from" for instruction in instructions):
            raise InvalidRequest("no FROM line")
        return cls(instructions)

    def __str__(self) -> str:
        """Ollama's form. Raises InvalidRequest where a value is not `expressible`."""
        return "".join(f"{instruction}\n" for instruction in self.instructions)

    def all(self, name: str) -> tuple[Instruction, ...]:
        """The instructions of one name."""
        return tuple(instruction for instruction in self.instructions if instruction.name == name)

    def last(self, name: str) -> str:
        """The value that counts where an instruction should stand once: the last; "" where there is none."""
        found = self.all(name)
        return found[-1].value if found else ""


def _decoded(source: str | bytes) -> str:
    if len(source) > MAX_BYTES:
        raise InvalidRequest(f"the Modelfile is larger than {MAX_BYTES >> 20} MiB: it holds texts, not weights")
    if isinstance(source, str):
        return source.removeprefix("\ufeff")
    mark, encoding = next((each for each in _BYTE_ORDER_MARKS if source.startswith(each[0])), (b"", "utf-8"))
    try:
        return source[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the Modelfile is not {encoding.upper()} at byte {len(mark) + error.start}") from None


def _read(text: str) -> Iterator[Instruction]:
    line, counted = 1, 0
    at = _end(_BETWEEN, text, 0)
    while at < len(text):
        line += len(_LINE_END.findall(text, counted, at))
        counted = at
        instruction, at = _instruction(text, at, line)
        yield instruction
        at = _end(_BETWEEN, text, at)


def _instruction(text: str, at: int, line: int) -> tuple[Instruction, int]:
    """The instruction that begins there, and where it ends."""
    word, at = _word(text, at)
    name = word.lower()
    if name not in NAMES or (at < len(text) and text[at] not in " \t"):
        raise _error(line, f"command must be one of {_either(NAMES)}")
    key = ""
    if name in ("parameter", "message"):
        key, at = _word(text, _end(_BLANKS, text, at))
        pattern = _PARAMETER if name == "parameter" else _LETTERS
        if at < len(text) and (not pattern.fullmatch(key) or text[at] not in " \t"):
            raise InvalidRequest(f"unexpected EOF: {key} (line {line}: {name.upper()} wants a name and a value)")
    if at >= len(text):
        raise InvalidRequest(f"unexpected EOF (line {line}: {name.upper()} has no value)")
    value, at = _value(text, at, line)
    return Instruction(name, value, key, line), at


def _word(text: str, at: int) -> tuple[str, int]:
    end = _end(_WORD, text, at)
    return text[at:end], end


def _value(text: str, at: int, line: int) -> tuple[str, int]:
    at = _end(_BLANKS, text, at)
    quote = next((quote for quote in ('"""', '"') if text.startswith(quote, at)), "")
    if not quote:
        end = _end(_BARE, text, at)
        return text[at:end].strip(_SPACE), end
    closing = _CLOSE[quote].search(text, at + len(quote))
    if closing is None:
        raise InvalidRequest(
            f"unexpected EOF (the {quote} of line {line} is not closed: end the value's last line with it)"
        )
    return text[at + len(quote) : closing.start()], closing.end()


def _quoted(value: str) -> str:
    quote = _quote_of(value)
    if quote is None:
        raise InvalidRequest('a Modelfile cannot hold a text in which a line ends in """ and others follow')
    return f"{quote}{value}{quote}"


def _quote_of(value: str) -> str | None:
    """The quote in which the value can be read again, as Ollama chooses it; "" where it needs none.

    None: no quote will do, for a line ends in it before the value does.
    """
    if value == value.strip(_SPACE) and not value.startswith('"') and not re.search(r"[\r\n]", value):
        return "" if value else '"'
    for quote in ('"""', '"') if '"' in value else ('"', '"""'):
        written = f"{quote}{value}{quote}"
        opened = '"""' if written.startswith('"""') else '"'
        closing = _CLOSE[quote].search(written, len(quote))
        if opened == quote and closing is not None and closing.start() == len(quote) + len(value):
            return quote
    return None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    assert found is not None, "these patterns match the empty text too"
    return found.end()


def _either(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names[:-1]) + f', or "{names[-1]}"'


def _error(line: int, message: str) -> InvalidRequest:
    return InvalidRequest(f"(line {line}): {message}" if line else message)
