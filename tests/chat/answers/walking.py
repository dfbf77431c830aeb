"""Walks through a grammar at random, byte by byte, and says what it wrote: a model without opinions.

The vocabulary has the 256 bytes, then control tokens, then the end of the answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import llguidance
import numpy as np

_LIKED = frozenset(b'"}])>\n')  # what ends things, so that walks end


class Bytes:
    """A vocabulary, for llguidance."""

    def __init__(self, marks: Sequence[str] = ()) -> None:
        self.marks: Mapping[str, int] = {mark: 256 + index for index, mark in enumerate(sorted(marks))}
        self.tokens = [bytes([value]) for value in range(256)] + [mark.encode() for mark in self.marks] + [b"<end>"]
        self.eos_token_id = len(self.tokens) - 1
        self.bos_token_id = None
        self.special_token_ids = list(range(256, len(self.tokens)))
        self.tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(self))

    def __call__(self, text: bytes) -> list[int]:
        return list(text)

    def encode(self, text: str) -> list[int]:
        """Marks by their tokens, the rest by bytes."""
        tokens: list[int] = []
        while text:
            mark = max((mark for mark in self.marks if text.startswith(mark)), key=len, default="")
            tokens += [self.marks[mark]] if mark else list(text[0].encode())
            text = text[len(mark or text[0]) :]
        return tokens

    def matcher(self, source: str) -> llguidance.LLMatcher:
        """Raises AssertionError for a grammar that is none."""
        matcher = llguidance.LLMatcher(self.tokenizer, llguidance.LLMatcher.grammar_from_lark(source), log_level=0)
        assert not matcher.is_error(), f"{matcher.get_error()}\n{source}"
        return matcher

    def accepts(self, source: str, text: str) -> bool:
        """Whether the text is a whole answer."""
        matcher, tokens = self.matcher(source), self.encode(text)
        if matcher.validate_tokens(tokens) < len(tokens):
            return False
        matcher.consume_tokens(tokens)
        return matcher.is_accepting()

    def walk(self, source: str, seed: int, limit: int = 2000) -> str | None:
        """What a random walk wrote; None if it did not come to an end."""
        matcher, chance, written = self.matcher(source), random.Random(seed), b""
        words = np.zeros(-(-len(self.tokens) // 32), np.int32)
        for _ in range(limit):
            matcher.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
            bits = np.unpackbits(words.view(np.uint8), count=len(self.tokens), bitorder="little")
            allowed = np.flatnonzero(bits).tolist()
            assert allowed, matcher.get_error()
            if allowed == [self.eos_token_id] or (self.eos_token_id in allowed and chance.random() < 0.7):
                return written.decode()
            token = self._choose([token for token in allowed if token != self.eos_token_id], written, chance)
            matcher.consume_token(token)
            written += self.tokens[token]
        return None

    def _choose(self, allowed: list[int], written: bytes, chance: random.Random) -> int:
        marks = [token for token in allowed if token > 255]
        closing = [mark.encode() for mark in ("</parameter>", "</arg_value>", "</think>") if mark not in self.marks]
        started = [mark[size] for mark in closing for size in range(1, len(mark)) if written.endswith(mark[:size])]
        liked = [token for token in allowed if token in _LIKED or token in started or token == ord("<")]
        letters = [token for token in allowed if token < 128]
        if marks and chance.random() < 0.3:
            return chance.choice(marks)
        finish = [token for token in started if token in allowed]
        if finish and chance.random() < 0.95:
            return finish[-1]
        if liked and chance.random() < 0.4:
            return chance.choice(liked)
        return chance.choice(letters if letters and chance.random() < 0.95 else allowed)
