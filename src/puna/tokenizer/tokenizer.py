"""`Tokenizer`: text to token ids and back; `Detokenizer`: the same way back, one token at a time.

Knows nothing of files or kinds of vocabulary: it is given finished `tokenizers.Tokenizer` objects and a table
of bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import tokenizers

from puna.errors import InvalidRequest
from puna.tokenizer.refusals import refusals


@dataclass(frozen=True, slots=True, eq=False)
class Tokenizer:
    """A model's tokenizer. Immutable: any number of threads may use one at the same time.

    Text that is not valid Unicode does not fail: a lone surrogate (also one that `surrogateescape` has put for a
    byte that is not UTF-8) is encoded as U+FFFD, and a pair of surrogates as the character it stands for.
    """

    bos_id: int | None
    eos_id: int | None
    eog_ids: frozenset[int]  # "end of generation": any of these ends an answer
    special_ids: frozenset[int]  # control and unknown tokens: they have no text of their own
    prefix: tuple[int, ...]  # ids that `add_special` puts before ...
    suffix: tuple[int, ...]  # ... and after the text's own
    warnings: tuple[str, ...]  # what was assumed or repaired at loading
    _plain: tokenizers.Tokenizer  # reads control tokens' texts as any text
    _parsing: tokenizers.Tokenizer  # turns control tokens' texts into their ids
    _texts: Sequence[str]
    _pieces: Sequence[bytes]
    _strips_blank: bool  # encoding puts a blank before the text, decoding takes it away
    separator: tuple[int, ...] = ()  # ids between a pair's first text, `suffix` included, and its second

    @property
    def vocab_size(self) -> int:
        """The number of ids: valid ones are 0 to `vocab_size - 1`."""
        return len(self._pieces)

    @property
    def add_bos(self) -> bool:
        """Whether `add_special` puts the beginning-of-sequence token first."""
        return self.bos_id is not None and self.bos_id in self.prefix

    @property
    def add_eos(self) -> bool:
        """Whether `add_special` puts the end-of-sequence token last."""
        return self.eos_id is not None and self.eos_id in self.suffix

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The ids of `text`.

        add_special: with the tokens the model wants before and after every text (BOS, EOS, [CLS], [SEP]).
        parse_special: the text of a control token (`<|im_end|>`) becomes its id. Only for text that is trusted
            to hold them, such as a rendered chat template; off, what a user typed stays text.
        """
        backend = self._parsing if parse_special else self._plain
        with refusals("the tokenizer refuses the text"):
            ids = backend.encode(_valid_unicode(text), add_special_tokens=False).ids
        return [*self.prefix, *ids, *self.suffix] if add_special else ids

    def encode_pair(self, first: str, second: str) -> tuple[list[int], int]:
        """The ids of two texts that are read together, and how many of them come before the second's own.

        Control tokens' texts are text.
        """
        before = [*self.encode(first), *self.separator]
        return [*before, *self.encode(second, add_special=False), *self.suffix], len(before)

    @property
    def control_tokens(self) -> dict[str, int]:
        """The special tokens by their texts."""
        return {self._texts[token]: token for token in sorted(self.special_ids)}

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD. `InvalidRequest` for an unknown id."""
        detokenizer = self.detokenizer(skip_special=skip_special)
        return "".join([detokenizer.push(i) for i in ids]) + detokenizer.flush()

    def detokenizer(
        self, *, skip_special: bool = True, shown: frozenset[int] = frozenset(), continues: bool = False
    ) -> Detokenizer:
        """A decoder for one stream of ids.

        skip_special: special tokens give no text, but for those in `shown`.
        continues: the stream goes on with an earlier text, so a blank that it starts with is a real one.
            Otherwise a vocabulary that puts a blank before every text (SentencePiece) has it taken away.
        """
        hidden = self.special_ids - shown if skip_special else frozenset()
        return Detokenizer(self, hidden, self._strips_blank and not continues)

    def token_bytes(self, token: int) -> bytes:
        """The exact bytes the token stands for; of a control token, its text's. May be part of a character."""
        self._check(token)
        return self._pieces[token]

    def token_text(self, token: int) -> str:
        """The token as the vocabulary writes it (`\u0120hello`, `\u2581hello`, `<0x0A>`)."""
        self._check(token)
        return self._texts[token]

    def _check(self, token: int) -> None:
        if not 0 <= token < len(self._pieces):
            raise InvalidRequest(f"token id {token} is not in the vocabulary (0 to {len(self._pieces) - 1})")


class Detokenizer:
    """Turns ids into text as they come: never half a character, and the pieces add up to the whole decode."""

    __slots__ = ("_decoder", "_hidden", "_strip_blank", "_tokenizer")

    def __init__(self, tokenizer: Tokenizer, hidden: frozenset[int], strip_blank: bool) -> None:
        self._tokenizer = tokenizer
        self._hidden = hidden
        self._strip_blank = strip_blank
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The text that `token` completes: possibly none yet. Raises `InvalidRequest` for an unknown id."""
        piece = self._tokenizer.token_bytes(token)
        if token in self._hidden:
            return ""
        if self._strip_blank and piece:
            self._strip_blank = False
            piece = piece.removeprefix(b" ")
        return self._decoder.decode(piece)

    def flush(self) -> str:
        """What is left when the stream ends: U+FFFD if it ended inside a character, else nothing."""
        return self._decoder.decode(b"", final=True)


def _valid_unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        # By way of UTF-16, where a pair of surrogates is one character and a lone one is an error.
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
