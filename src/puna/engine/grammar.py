"""Grammars: which tokens may come next, so that the answer is JSON of a schema, or whatever was asked for.

llguidance parses: a grammar and the bytes of each token give, after each token, a mask over the vocabulary. Masks
are computed on a thread of their own while the model computes the logits they will be applied to. Knows token ids
and their bytes; nothing of logits, steps or APIs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import llguidance
import numpy as np
from numpy.typing import NDArray

from puna.engine import gbnf
from puna.engine.types import Grammar
from puna.errors import InvalidRequest
from puna.tokenizer import Tokenizer

Masks: TypeAlias = NDArray[np.float32]  # (rows, vocab_size): 0 for a token that may come, -inf for another

# Between JSON's tokens: nothing, a blank, or a new line and its indentation. Any white space at all would let a
# model that is unsure write blanks for ever. It is llama.cpp's rule too.
WHITE_SPACE = r"( |\n[ \t]{0,20})?"

MAX_SOURCE = 1 << 20  # characters of a grammar; llguidance bounds what these may ask for
MAX_REFERENCES = 1000  # in a JSON schema: llguidance follows them by recursion
COMPILED_KEPT = 16  # grammars: a chat sends the same tools with every message


class GrammarCompiler:
    """Makes constraints over one vocabulary, which is prepared when the first one is made."""

    def __init__(self, tokenizer: Callable[[], Tokenizer], vocab_size: int) -> None:
        """The model's vocab_size may be larger than the tokenizer's: what is beyond never comes."""
        self._load = tokenizer
        self._vocab_size = vocab_size
        self._vocabulary: llguidance.LLTokenizer | None = None
        self._compiled: OrderedDict[Grammar, llguidance.LLMatcher] = OrderedDict()  # the least recently used first
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="grammar")  # idle: none is started

    def compile(self, grammar: Grammar) -> Constraint:
        """Raises InvalidRequest, which says what is wrong with the grammar."""
        matcher = self._compiled.pop(grammar, None) or self._matcher(grammar)
        self._compiled[grammar] = matcher
        if len(self._compiled) > COMPILED_KEPT:
            self._compiled.popitem(last=False)
        return Constraint(matcher.deep_copy(), self._vocab_size, self._thread)

    def _matcher(self, grammar: Grammar) -> llguidance.LLMatcher:
        if self._vocabulary is None:
            self._vocabulary = _vocabulary(self._load(), self._vocab_size)
        name, size = _NAMES[grammar.kind], len(grammar.source)
        if size > MAX_SOURCE:
            raise InvalidRequest(f"the {name} has {size} characters; at most {MAX_SOURCE} are allowed")
        if grammar.source.count('"$ref"') > MAX_REFERENCES:
            raise InvalidRequest(f"the {name} has more than {MAX_REFERENCES} references")
        matcher = llguidance.LLMatcher(self._vocabulary, _source(grammar), log_level=0)
        if matcher.is_error():
            raise InvalidRequest(f"the answer cannot be held to this {name}: {matcher.get_error()}")
        return matcher

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


class Constraint:
    """What one sequence may say, given what it has said: `take` each of its tokens."""

    def __init__(self, matcher: llguidance.LLMatcher, vocab_size: int, thread: ThreadPoolExecutor) -> None:
        self._matcher = matcher
        self._vocab_size = vocab_size
        self._thread = thread

    def take(self, token: int) -> bool:
        """The sequence's next token, which was allowed; whether the answer is complete with it."""
        self._matcher.consume_token(token)
        return self._matcher.is_stopped() and self._matcher.is_accepting()

    def forced(self, count: int) -> list[int]:
        """At most `count` tokens of which the grammar leaves no choice."""
        return self._matcher.compute_ff_tokens()[:count]

    def allowed(self, tokens: Sequence[int]) -> int:
        """How many of the first of these tokens may come, one after another."""
        return self._matcher.validate_tokens(list(tokens))

    def masks(self, draft: Sequence[int]) -> Future[Masks]:
        """What may come next, and after each token of `draft`, all of which are allowed. Computed in the background.

        The result raises InvalidRequest when the grammar has become too complex.
        """
        return self._thread.submit(self._masks, list(draft))

    def _masks(self, draft: list[int]) -> Masks:
        matcher = self._matcher
        words = np.zeros((1 + len(draft), -(-self._vocab_size // 32)), np.int32)
        for row, token in zip(words, [*draft, None], strict=True):
            matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
            if token is not None:
                matcher.consume_token(token)
        if draft:
            matcher.rollback(len(draft))
        if matcher.is_error() or not words.any(axis=1).all():
            reason = matcher.get_error() or matcher.stop_reason()
            raise InvalidRequest(f"the answer cannot be held to its grammar any longer: {reason}")
        bits = np.unpackbits(words.view(np.uint8), axis=1, count=self._vocab_size, bitorder="little")
        return _MASK[bits]


_MASK = np.array([-np.inf, 0], np.float32)
_NAMES = {"json_schema": "JSON schema", "regex": "regular expression", "lark": "grammar", "gbnf": "grammar"}


def _source(grammar: Grammar) -> str:
    match grammar.kind:
        case "json_schema":
            try:
                return llguidance.LLMatcher.grammar_from_json_schema(
                    grammar.source, overrides={"whitespace_pattern": WHITE_SPACE}
                )
            except ValueError as error:
                raise InvalidRequest(f"the JSON schema is not valid: {error}") from None
        case "regex":
            return llguidance.LLMatcher.grammar_from_regex(grammar.source)
        case "lark":
            return llguidance.LLMatcher.grammar_from_lark(grammar.source)
        case "gbnf":
            return llguidance.LLMatcher.grammar_from_lark(gbnf.to_lark(grammar.source))


def _vocabulary(tokenizer: Tokenizer, vocab_size: int) -> llguidance.LLTokenizer:
    if not tokenizer.eog_ids:
        raise InvalidRequest("this model's vocabulary names no token that ends an answer, which a grammar needs")
    ends = sorted(tokenizer.eog_ids)
    wrapper = llguidance.TokenizerWrapper(_Vocabulary(tokenizer, vocab_size, ends[0]))
    return llguidance.LLTokenizer(wrapper, eos_token=ends)


class _Vocabulary:
    """A tokenizer as llguidance wants it. It is called for texts that a grammar forces."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, end: int) -> None:
        self.eos_token_id = end
        self.bos_token_id = tokenizer.bos_id
        known = range(tokenizer.vocab_size)
        self.tokens = [tokenizer.token_bytes(token) if token in known else b"" for token in range(vocab_size)]
        self.special_token_ids = sorted(tokenizer.special_ids | tokenizer.eog_ids)
        self._tokenizer = tokenizer
        special = frozenset(self.special_token_ids)
        self._ids = {piece: token for token, piece in enumerate(self.tokens) if piece and token not in special}
        self._longest = max(map(len, self._ids))

    def __call__(self, text: bytes) -> list[int]:
        ids = self._tokenizer.encode(text.decode(), add_special=False)
        # SentencePiece puts a blank before a text, which is not the grammar's.
        return ids if b"".join(self.tokens[token] for token in ids) == text else self._greedy(text)

    def _greedy(self, text: bytes) -> list[int]:
        """The longest token first."""
        ids: list[int] = []
        while text:
            size = next(n for n in range(self._longest, 0, -1) if text[:n] in self._ids)
            ids.append(self._ids[text[:size]])
            text = text[size:]
        return ids
