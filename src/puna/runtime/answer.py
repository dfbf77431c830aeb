"""One answer: tokens in, pieces of text, thoughts and tool calls out, each with what belongs to it.

Stop strings are looked for in all that the model writes, its thoughts included, as in vLLM and llama.cpp. Knows
nothing of engines and requests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from puna.chat import StopStrings, ToolCall
from puna.chat.answers import AnswerParser, Piece, Text, Thought
from puna.runtime.types import Delta, TokenLogprob
from puna.tokenizer import Detokenizer


@dataclass(frozen=True, slots=True)
class _Token:
    """Where a token's text begins and ends in the answer, in characters; nowhere, if it has none of its own."""

    start: int
    end: int
    logprob: TokenLogprob | None


class Answer:
    """Made for one generation. `push` its tokens until it has ended, then `finish`."""

    def __init__(
        self,
        detokenizer: Detokenizer,
        *,
        stops: Iterable[str] = (),
        parser: AnswerParser | None = None,
        one_call: bool = False,
        thinking_tokens: int | None = None,
    ) -> None:
        """parser: tells thoughts and calls from text; None: all is text.
        one_call: the answer ends with its first tool call.
        thinking_tokens: a thought of so many has outgrown its limit; None: none has.
        """
        self._detokenizer = detokenizer
        self._stops = StopStrings(stops)
        self._parser = parser
        self._one_call = one_call
        self._thinking_tokens = thinking_tokens
        self._calls = 0
        self.reasoning_tokens = 0  # those that the thoughts are made of
        self._length = 0  # characters so far
        self._tokens: deque[_Token] = deque()  # those whose text is not delivered yet
        self._open: list[str] = []  # text that the parser was given and has not delivered, ...
        self._begin = 0  # ... and where in the answer it begins

    def ended(self) -> bool:
        """Whether it is over, whatever more the model would say."""
        return self._stops.stopped or (self._one_call and self._calls > 0)

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended it."""
        return self._stops.matched

    @property
    def called(self) -> bool:
        """Whether it has tool calls, and no stop string ended it."""
        return self._calls > 0 and not self._stops.stopped

    @property
    def thought_too_long(self) -> bool:
        """Whether a thought is open that must be ended now; not where what may be its closing mark has begun."""
        if self._thinking_tokens is None or self._parser is None or not self._parser.thinking:
            return False
        spent = self.reasoning_tokens + len(self._tokens)
        return spent >= self._thinking_tokens and not "".join(self._open).strip()

    def push(self, token: int, logprob: TokenLogprob | None = None) -> list[Delta]:
        """What is certain with this token."""
        text = self._detokenizer.push(token)
        self._tokens.append(_Token(self._length, self._length + len(text), logprob))
        self._length += len(text)
        return self._shown(self._stops.push(text)[0])

    def finish(self) -> list[Delta]:
        """What was held back, once no more will come."""
        deltas: list[Delta] = []
        if not self.ended():
            rest = self._detokenizer.flush()
            self._length += len(rest)
            deltas += self._shown(self._stops.push(rest)[0])
            deltas += self._shown(self._stops.flush())
        if self._parser is not None:
            deltas += self._deltas(self._parser.finish())
        self._forget(self._length)
        if not self.ended() and (logprobs := _logprobs(self._tokens)):
            deltas.append(Delta("", logprobs=logprobs))
        return deltas

    def _shown(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._open.append(text)
        return self._deltas([Text(text)] if self._parser is None else self._parser.push(text))

    def _deltas(self, pieces: list[Piece]) -> list[Delta]:
        if not pieces:
            return []
        text = "".join(self._open)
        read = len(text) - (0 if self._parser is None else self._parser.held)
        deltas = []
        at = read
        places: list[tuple[int, int]] = []  # where the pieces stand, found from the last one on
        for piece in reversed(pieces):
            at = max(0, text.rfind(_text(piece), 0, at)) if _text(piece) else at
            places.insert(0, (self._begin + at, self._begin + at + len(_text(piece))))
        for piece, (start, end) in zip(pieces, places, strict=True):
            if self._one_call and self._calls:
                break
            deltas.append(self._delta(piece, self._take(start, end) if start < end else []))
        self._open = [text[read:]]
        self._begin += read
        self._forget(self._begin)
        return deltas

    def _delta(self, piece: Piece, tokens: list[_Token]) -> Delta:
        match piece:
            case Text(text):
                return Delta(text, logprobs=_logprobs(tokens))
            case Thought(text):
                self.reasoning_tokens += len(tokens)
                return Delta("", thinking=text)
            case ToolCall():
                self._calls += 1
                return Delta("", tool_calls=(piece,))

    def _take(self, start: int, end: int) -> list[_Token]:
        """The tokens that have a part in these characters and in none before."""
        self._forget(start)
        taken = []
        while self._tokens and self._tokens[0].start < end:
            taken.append(self._tokens.popleft())
        return taken

    def _forget(self, start: int) -> None:
        """Those that end before: they were marks, or part of a call."""
        while self._tokens and self._tokens[0].start < start and self._tokens[0].end <= start:
            self._tokens.popleft()


def _text(piece: Piece) -> str:
    return "" if isinstance(piece, ToolCall) else piece.text


def _logprobs(tokens: Iterable[_Token]) -> tuple[TokenLogprob, ...]:
    return tuple(token.logprob for token in tokens if token.logprob is not None)
