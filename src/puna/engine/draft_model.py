"""DraftModel: a small model that says what a large one of the same vocabulary will probably say next.

It goes through the text beside the large model, with KV blocks of its own, and proposes its likeliest tokens, for
all sequences at once: "Fast Inference from Transformers via Speculative Decoding", arXiv:2211.17192. Whether they
are right, the large model's sampler finds out.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from puna.engine.block_manager import BlockManager
from puna.engine.model import Model
from puna.errors import InvalidRequest
from puna.models import BLOCK_SIZE, Chunk
from puna.tokenizer import Tokenizer


@dataclass(slots=True)
class _Text:
    """What the draft model has computed of one sequence; the first `known` tokens are the sequence's own."""

    token_ids: list[int] = field(default_factory=list)
    known: int = 0
    block_table: list[int] = field(default_factory=list)


class DraftModel:
    """Proposes tokens; `forget` a sequence when it has ended. `context` is how far the model can look."""

    def __init__(self, model: Model, *, context: int) -> None:
        self.model = model
        self._context = context
        self._block_manager = BlockManager(model.num_blocks, BLOCK_SIZE)
        self._texts: dict[str, _Text] = {}

    def propose(self, wanted: Seq[tuple[str, list[int], int]]) -> list[list[int]]:
        """For each (id, tokens so far, count) at most `count` tokens that may follow.

        None for a sequence that is too long for it, or of which it has much to catch up: that takes a few calls.
        """
        drafts: list[list[int]] = [[] for _ in wanted]
        open_ = [i for i, (name, token_ids, count) in enumerate(wanted) if self._catch_up(name, token_ids, count)]
        while open_ := [i for i in open_ if len(drafts[i]) < wanted[i][2]]:
            chunks = [self._chunk(wanted[i][0], [*wanted[i][1], *drafts[i]]) for i in open_]
            rows = self.model.forward(chunks)
            for i, row in zip(open_, rows, strict=True):
                drafts[i].append(int(row.argmax()))
        return drafts

    def forget(self, name: str) -> None:
        """Give back the blocks of a sequence, if it ever had any."""
        if text := self._texts.pop(name, None):
            self._block_manager.free(text.block_table)

    def _catch_up(self, name: str, token_ids: list[int], count: int) -> bool:
        """Make room for the text and `count` tokens, and compute all of it but the end; whether that was done."""
        length = len(token_ids) + count
        text = self._texts.setdefault(name, _Text())
        missing = self._block_manager.missing(text.block_table, length)
        if length > self._context or not self._block_manager.can_allocate(missing):
            return False
        self._block_manager.allocate(text.block_table, length)
        _cut(text, token_ids)
        limit = self.model.max_tokens // self.model.max_outputs  # rows that each of the sequences may have in a step
        if len(token_ids) - len(text.token_ids) > limit:
            end = min(len(token_ids) - 1, len(text.token_ids) + self.model.max_tokens)
            self.model.forward([self._chunk(name, token_ids[:end])])
        return len(token_ids) - len(text.token_ids) <= limit

    def _chunk(self, name: str, token_ids: list[int]) -> Chunk:
        """The tokens not computed yet; they will be."""
        text = self._texts[name]
        start = len(text.token_ids)
        text.token_ids = list(token_ids)
        return Chunk(token_ids[start:], start, text.block_table, 1)


def _cut(text: _Text, token_ids: list[int]) -> None:
    """Forget what it had proposed and did not come; the last token is computed again for its logits."""
    most = min(len(text.token_ids), len(token_ids) - 1)
    while text.known < most and text.token_ids[text.known] == token_ids[text.known]:
        text.known += 1
    del text.token_ids[text.known :]


def check_vocabularies(tokenizer: Tokenizer, draft: Tokenizer) -> None:
    """Raise InvalidRequest unless both models mean the same by each token."""
    size, draft_size = tokenizer.vocab_size, draft.vocab_size
    if size != draft_size:
        raise InvalidRequest(f"the draft model has {draft_size} tokens, the model {size}: it must have the same ones")
    for token in range(size):
        ours, theirs = tokenizer.token_bytes(token), draft.token_bytes(token)
        if ours != theirs:
            raise InvalidRequest(f"token {token} is {ours!r}, but {theirs!r} in the draft model: it must be the same")
    if tokenizer.special_ids != draft.special_ids:
        raise InvalidRequest("the draft model has other special tokens than the model: it must have the same ones")
