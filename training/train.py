"""Trains cria on conversations made as it goes.

Most steps take rows of 256 tokens with several conversations packed in each, attention closed within them; one step
in twenty takes rows that are one long conversation each, so that long chats hold. The loss counts cria's own words
alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F  # noqa: N812
from tokenizers import Tokenizer
from torch import Tensor

from training.book import Book
from training.conversations import conversation
from training.evaluate import Quiz
from training.model import Llama, LlamaConfig, load, save
from training.muon import Muon
from training.tokenizer import IGNORED, encode

POOL = 60  # conversations to choose from when a row is packed


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of a run; the same plan on the same machine gives the same model."""

    tokens: float = 12e6
    seed: int = 0
    threads: int = 2
    rows: int = 8
    row_length: int = 256
    long_every: int = 20
    long_rows: int = 1
    long_length: int = 2048
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warm_up: int = 60  # steps
    decay: float = 0.6  # share of the steps over which the rate falls to nothing
    report_every: int = 200  # steps


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of tokens; `targets` is the next token where cria speaks, else IGNORED.

    `mask` and `positions` are None where each row is one conversation."""

    ids: Tensor
    targets: Tensor
    positions: Tensor | None
    mask: Tensor | None


class Batches:
    """Batches without end, the same for the same seed."""

    def __init__(self, book: Book, tokenizer: Tokenizer, plan: Plan) -> None:
        self.book, self.tokenizer, self.plan = book, tokenizer, plan
        self.rng = Random(f"training {plan.seed}")
        self.pool: list[tuple[list[int], list[int]]] = []
        self.causal = torch.ones(plan.row_length, plan.row_length).tril().bool()

    def packed(self) -> Batch:
        """Rows of several conversations, best fit from a small pool."""
        shape = (self.plan.rows, self.plan.row_length)
        ids, targets = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED)
        positions, owner = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
        for row in range(self.plan.rows):
            start = 0
            while taken := self._take(self.plan.row_length - start):
                end = start + len(taken[0])
                ids[row, start:end] = torch.tensor(taken[0])
                targets[row, start:end] = torch.tensor([*taken[1][1:], IGNORED])
                positions[row, start:end] = torch.arange(end - start)
                owner[row, start:end] = start
                start = end
        mask = ((owner[:, :, None] == owner[:, None, :]) & self.causal)[:, None]
        return Batch(ids, targets, positions, mask)

    def long(self) -> Batch:
        """Rows of one long conversation each, cut at the row's end."""
        shape = (self.plan.long_rows, self.plan.long_length)
        ids, targets = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED)
        for row in range(self.plan.long_rows):
            tokens, labels = encode(self.tokenizer, conversation(self.rng, self.book, long=True))
            size = min(len(tokens), self.plan.long_length)
            ids[row, :size] = torch.tensor(tokens[:size])
            targets[row, : size - 1] = torch.tensor(labels[1:size])
        return Batch(ids, targets, None, None)

    def _take(self, room: int) -> tuple[list[int], list[int]] | None:
        """A conversation that fits: any one while there is much room, then the longest."""
        while len(self.pool) < POOL:
            made = encode(self.tokenizer, conversation(self.rng, self.book))
            if len(made[0]) <= self.plan.row_length:
                self.pool.append(made)
        fitting = [i for i, (tokens, _) in enumerate(self.pool) if len(tokens) <= room]
        if not fitting:
            return None
        best = fitting[0] if room > self.plan.row_length // 2 else max(fitting, key=lambda i: len(self.pool[i][0]))
        return self.pool.pop(best)


def train(
    book: Book,
    tokenizer: Tokenizer,
    plan: Plan,
    checkpoint: Path,
    start: Path | None = None,
    log: Callable[[str], None] = print,
) -> Llama:
    """Train a new model, or go on from the checkpoint `start`; writes `checkpoint` and reports as it goes."""
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    model = load(start) if start else Llama(LlamaConfig(vocab_size=tokenizer.get_vocab_size()))
    model.train()
    log(f"{plan}; {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")
    optimizers = _optimizers(model, plan)
    batches, quiz = Batches(book, tokenizer, plan), Quiz(book, tokenizer)
    hidden = torch.compile(model.hidden, dynamic=False)
    steps = int(plan.tokens / (plan.rows * plan.row_length))
    started, quizzed, mean = time.monotonic(), 0.0, None
    for step in range(steps):
        _set_rate(optimizers, _rate(step, steps, plan))
        batch = batches.long() if step % plan.long_every == plan.long_every - 1 else batches.packed()
        loss = _loss(model, hidden, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        mean = loss.item() if mean is None else 0.95 * mean + 0.05 * loss.item()
        if (step + 1) % plan.report_every == 0 or step + 1 == steps:
            asked = time.monotonic()
            report = quiz.report(model)
            quizzed += time.monotonic() - asked
            seen, spent = (step + 1) * plan.rows * plan.row_length, time.monotonic() - started
            speed = seen / (spent - quizzed)
            log(f"{seen / 1e6:.2f} M tokens, {spent:.0f} s, {speed:.0f} tokens/s, loss {mean:.4f} | {report}")
            save(model, checkpoint)
    model.eval()
    return model


def _loss(model: Llama, hidden: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Cross-entropy where cria speaks; the vocabulary's product is made for those positions alone."""
    spoken = batch.targets != IGNORED
    states = hidden(batch.ids, batch.positions, batch.mask)[spoken]
    return F.cross_entropy(model.logits(states), batch.targets[spoken])


def _optimizers(model: Llama, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    adamw = torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.98), weight_decay=plan.weight_decay, fused=True)
    return [adamw, Muon(matrices, lr=0.0, weight_decay=plan.weight_decay)]


def _rate(step: int, steps: int, plan: Plan) -> float:
    """Warm up, hold, then fall in a straight line."""
    left = (steps - step) / (plan.decay * steps)
    return plan.learning_rate * min(1.0, (step + 1) / plan.warm_up, max(0.01, left))


def _set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
