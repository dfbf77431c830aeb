"""gpt-oss's answers: messages in channels, each with a header and a body.

Source: OpenAI's harmony response format. `<|channel|>analysis<|message|>...<|end|>`, then `<|start|>assistant` and
`<|channel|>final<|message|>...<|return|>` or a call: `<|channel|>commentary to=functions.name <|constrain|>json
<|message|>{...}<|call|>` (the recipient may also stand before the channel). The prompt ends in `<|start|>assistant`,
inside a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from puna.chat.answers.json_calls import parameters_of
from puna.chat.answers.lark import Lark
from puna.chat.answers.pieces import Piece, Text, Thought
from puna.chat.answers.source import NotACall, Source, Steps, held_back, pattern_of
from puna.chat.answers.toolbox import Toolbox
from puna.chat.answers.values import parse_value
from puna.chat.messages import Tool

START, CHANNEL, MESSAGE, END = "<|start|>", "<|channel|>", "<|message|>", "<|end|>"
_ENDS = (END, "<|return|>", "<|call|>")
_STOPS = (*_ENDS, START, CHANNEL)
TOKENS = frozenset({*_STOPS, MESSAGE, "<|constrain|>"})
THOUGHT_END = f"{END}{START}assistant"
NO_THOUGHT = f"{CHANNEL}analysis{MESSAGE}{THOUGHT_END}"
FINAL = f"{CHANNEL}final{MESSAGE}"

_RECIPIENT = re.compile(r"to=(?:functions\.)?([^<]*[^<\s])")  # maybe with the content's type after a blank
_HEADER = (CHANNEL, START, " to=", "to=")  # what a header begins with; other text is text
_PATTERN = pattern_of(_STOPS)
_LONGEST = max(map(len, _STOPS))


class Harmony:
    """Reads one answer from `source` and hands its pieces to `emit`."""

    def __init__(self, source: Source, emit: Callable[[Piece], None], tools: Toolbox) -> None:
        self._source = source
        self._emit = emit
        self._tools = tools

    def read(self, prompt: str) -> Steps[None]:
        """Read the answer to its end. The prompt may end inside a message, which then goes on."""
        source = self._source
        header = prompt[prompt.rfind(CHANNEL) :] if prompt.endswith(MESSAGE) else ""
        if header:
            yield from self._body(header)
        while source.unread or not source.ended:
            source.begin()
            if not (yield from source.ahead(*_HEADER)):
                yield from self._stream(Text)
            else:
                try:
                    header, _ = yield from source.until(MESSAGE)
                except NotACall:
                    self._emit_read()
                    continue
                if self._is_header(header):
                    yield from self._body(header)
                else:
                    self._emit_read()
            yield from source.accept(*_ENDS)
            if not source.unread and not source.ended:
                yield

    def _is_header(self, header: str) -> bool:
        """Whether there is nothing in it but ASCII, which channels and types of content are written in, and a tool."""
        recipient = _RECIPIENT.search(header)
        named = recipient[1] if recipient else ""
        kinds = "" if named in self._tools else named.partition(" ")[2]
        return (_RECIPIENT.sub("", header) + kinds).isascii()

    def _body(self, header: str) -> Steps[None]:
        recipient = _RECIPIENT.search(header)
        if recipient:
            yield from self._call(recipient[1])
        elif "analysis" in header:
            self._source.thinking = True
            yield from self._stream(Thought)
            self._source.thinking = False
        else:
            yield from self._stream(Text)

    def _call(self, name: str) -> Steps[None]:
        source = self._source
        try:
            yield from source.space()
            name = name if name in self._tools else name.split()[0]
            call = self._tools.call(name, parse_value((yield from source.value())))
        except NotACall:
            self._emit_read()
            yield from self._stream(Text)
        else:
            self._emit(call)

    def _stream(self, piece: type[Text] | type[Thought]) -> Steps[None]:
        """Hand out text up to the next mark."""
        source = self._source
        while True:
            found = source.find(_PATTERN)
            size = found[0] if found else source.unread
            if not found and not source.ended:
                size -= held_back(source.tail(_LONGEST), _STOPS)
            source.begin()
            if size:
                self._emit(piece(source.take(size)))
            source.begin()
            if found or source.ended:
                return
            yield

    def _emit_read(self) -> None:
        text = self._source.since_begin()
        if text:
            self._emit(Text(text))


def calls(lark: Lark, tools: Sequence[Tool]) -> str:
    """A call for a grammar: one, since these models wait for its result."""
    return lark.rule(
        lark.one_of(
            [
                lark.text(f"{CHANNEL}commentary to=functions.{tool.name} <|constrain|>json{MESSAGE}")
                + f" {lark.json(parameters_of(tool))}"
                for tool in tools
            ]
        )
    )


def thought(lark: Lark) -> str:
    """A message of reasoning, and the beginning of the next message."""
    return f"{lark.text(CHANNEL + 'analysis' + MESSAGE)} {lark.until(END)} {lark.text(START + 'assistant')}"


def final(lark: Lark) -> str:
    """The header of the answer proper."""
    return lark.text(FINAL)
