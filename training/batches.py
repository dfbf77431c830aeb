"""Batches of conversations for training, without end, the same for the same seed, to be cut and taken up anywhere.

Conversations stand one after the other, each attending to itself alone. So that great distances are known, the
positions of some leap ahead in their middle (PoSE, Zhu et al. 2023), and now and then a batch is conversations of
thousands of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.book import Book
from training.conversations import conversation
from training.tokenizer import IGNORED, encode

LEAPS = 0.2  # share of conversations whose positions leap
SPARE = 1.4  # batches' worth of conversations to choose from when one is filled

Encoded = tuple[list[int], list[int]]  # token ids, and labels


@dataclass(frozen=True, slots=True)
class Shapes:
    """Tokens of a batch, lengths of the long conversations, and how often a batch is of these."""

    tokens: int = 4096
    long: tuple[int, ...] = (2048, 4096)
    long_every: int = 20
    context: int = 8192  # positions that leaps reach


@dataclass(frozen=True, slots=True)
class Batch:
    """Conversations one after the other, `lengths` tokens each; the tensors are (tokens,).

    `targets` is the next token where cria speaks, else IGNORED."""

    ids: Tensor
    targets: Tensor
    positions: Tensor
    lengths: list[int]


class Batches:
    """The generator's conversations as batches; `state` is all that the next batches depend on."""

    def __init__(self, book: Book, tokenizer: Tokenizer, seed: int, shapes: Shapes = Shapes()) -> None:
        self.book, self.tokenizer, self.shapes = book, tokenizer, shapes
        self.rng = Random(f"training {seed}")
        self.pool: list[Encoded] = []
        self.made = 0

    def state(self) -> dict[str, Any]:
        """To be given to `restore`."""
        return {"rng": self.rng.getstate(), "pool": self.pool, "made": self.made}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        version, numbers, gauss = state["rng"]
        self.rng.setstate((version, tuple(numbers), gauss))
        self.pool, self.made = state["pool"], state["made"]

    def next(self) -> Batch:
        """The next batch."""
        self.made += 1
        turn, rest = divmod(self.made, self.shapes.long_every)
        if rest == 0:
            return self._long(self.shapes.long[turn % len(self.shapes.long)])
        return self._batch(self._chosen())

    def _chosen(self) -> list[Encoded]:
        """Conversations for a batch: the oldest ones, then whichever fills the rest best."""
        tokens = self.shapes.tokens
        while sum(len(ids) for ids, _ in self.pool) < SPARE * tokens:
            made = encode(self.tokenizer, conversation(self.rng, self.book))
            if len(made[0]) <= tokens:
                self.pool.append(made)
        chosen, room = [], tokens
        while fitting := [i for i, (ids, _) in enumerate(self.pool) if len(ids) <= room]:
            best = 0 if fitting[0] == 0 else max(fitting, key=lambda i: len(self.pool[i][0]))
            chosen.append(self.pool.pop(best))
            room -= len(chosen[-1][0])
        return chosen

    def _batch(self, chosen: list[Encoded], leaps: float = LEAPS) -> Batch:
        """What is left of the batch's tokens is a last conversation, of which nothing is learned."""
        rest = self.shapes.tokens - sum(len(ids) for ids, _ in chosen)
        if rest:
            chosen = [*chosen, ([0] * rest, [IGNORED] * rest)]
        return Batch(
            ids=torch.tensor([token for ids, _ in chosen for token in ids]),
            targets=torch.tensor([label for _, labels in chosen for label in (*labels[1:], IGNORED)]),
            positions=torch.cat([self._positions(len(ids), leaps) for ids, _ in chosen]),
            lengths=[len(ids) for ids, _ in chosen],
        )

    def _positions(self, size: int, leaps: float) -> Tensor:
        positions = torch.arange(size)
        if self.rng.random() < leaps:
            positions[self.rng.randrange(size) :] += self.rng.randrange(self.shapes.context - size)
        return positions

    def _long(self, length: int) -> Batch:
        """Conversations of `length` tokens, cut where they are longer."""
        made = (self._long_conversation(length) for _ in range(self.shapes.tokens // length))
        return self._batch([(ids[:length], labels[:length]) for ids, labels in made], leaps=0.0)

    def _long_conversation(self, length: int) -> Encoded:
        """One in which cria speaks before half the row is full: a list of tools may be longer than a row."""
        while True:
            tokens, labels = encode(self.tokenizer, conversation(self.rng, self.book, long=True))
            if any(label != IGNORED for label in labels[: length // 2]):
                return tokens, labels
