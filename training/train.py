"""Trains cria on conversations made as it goes, with the loss on cria's own words alone.

A run can be cut at any time and taken up from its last checkpoint, which holds everything that the rest depends on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from tokenizers import Tokenizer
from torch import Tensor

from training.batches import Batch, Batches
from training.book import Book
from training.evaluate import Quiz
from training.model import Llama, LlamaConfig, save
from training.muon import Muon
from training.precision import fastest
from training.tokenizer import IGNORED

CHECKPOINT_EVERY = 240.0  # seconds


@dataclass(frozen=True, slots=True)
class Plan:
    """Numbers of a run; the same plan on the same machine gives the same model."""

    tokens: float = 48e6
    seed: int = 0
    threads: int = 2
    batch_tokens: int = 4096
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warm_up: int = 60  # steps
    decay: float = 0.6  # share of the steps over which the rate falls to nothing
    report_every: int = 250  # steps


class Run:
    """A model in training: what a checkpoint holds."""

    def __init__(self, book: Book, tokenizer: Tokenizer, plan: Plan) -> None:
        torch.manual_seed(plan.seed)
        self.plan = plan
        self.model = Llama(LlamaConfig(vocab_size=tokenizer.get_vocab_size()))
        self.optimizers = _optimizers(self.model, plan)
        self.batches = Batches(book, tokenizer, plan.seed)
        self.step, self.seconds, self.loss = 0, 0.0, 0.0

    def save(self, path: Path) -> None:
        """Write a checkpoint; one that is cut off leaves the last one whole."""
        state = {
            "plan": asdict(self.plan),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "batches": self.batches.state(),
            "progress": (self.step, self.seconds, self.loss),
        }
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what a checkpoint holds."""
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.batches.restore(state["batches"])
        self.step, self.seconds, self.loss = state["progress"]


def resume(book: Book, tokenizer: Tokenizer, path: Path) -> Run:
    """The run in a checkpoint, by the plan that it was started with."""
    state = torch.load(path, weights_only=True)
    run = Run(book, tokenizer, Plan(**state["plan"]))
    run.restore(state)
    return run


def train(run: Run, quiz: Quiz, folder: Path, log: Callable[[str], None] = print) -> Llama:
    """Train to the end of the plan; writes `state.pt` (for `resume`) and `cria.pt` into the folder."""
    plan, model = run.plan, run.model
    torch.set_num_threads(plan.threads)
    model.train()
    steps = int(plan.tokens / plan.batch_tokens)
    log(f"{plan}; {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters; step {run.step} of {steps}")
    for block in model.blocks:
        block.compile_halves()
    saved = time.monotonic()
    while run.step < steps:
        started = time.monotonic()
        _set_rate(run.optimizers, _rate(run.step, steps, plan))
        loss = _move(run)
        run.loss = 0.98 * run.loss + 0.02 * loss if run.step else loss
        run.step += 1
        run.seconds += time.monotonic() - started
        if run.step % plan.report_every == 0 or run.step == steps:
            seen = run.step * plan.batch_tokens
            speed = f"{run.seconds:.0f} s, {seen / run.seconds:.0f} tokens/s"
            log(f"{seen / 1e6:.2f} M tokens, {speed}, loss {run.loss:.4f} | {quiz.report(model)}")
        if run.step == steps or time.monotonic() - saved > CHECKPOINT_EVERY:
            run.save(folder / "state.pt")
            saved = time.monotonic()
    save(model, folder / "cria.pt")
    model.eval()
    return model


def _move(run: Run) -> float:
    """One step of the optimisers; the batch's loss."""
    loss = _loss(run.model, run.batches.next())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    for optimizer in run.optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return float(loss.item())


def _loss(model: Llama, batch: Batch) -> Tensor:
    """Cross-entropy where cria speaks; the vocabulary's product is made for those positions alone, in float32.

    The blocks' products may be in bfloat16, of which a processor with AVX512-BF16 makes 1.4 times as many."""
    spoken = batch.targets != IGNORED
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fastest() == torch.bfloat16):
        states = model.hidden(batch.ids, batch.positions, batch.lengths)[spoken].float()
    return F.cross_entropy(model.logits(states), batch.targets[spoken])


def _optimizers(model: Llama, plan: Plan) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    adamw = torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.98), weight_decay=plan.weight_decay, fused=True)
    return [adamw, Muon(matrices, lr=0.0, weight_decay=plan.weight_decay, dtype=fastest())]


def _rate(step: int, steps: int, plan: Plan) -> float:
    """Warm up, hold, then fall in a straight line."""
    left = (steps - step) / (plan.decay * steps)
    return plan.learning_rate * min(1.0, (step + 1) / plan.warm_up, max(0.01, left))


def _set_rate(optimizers: list[torch.optim.Optimizer], rate: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
