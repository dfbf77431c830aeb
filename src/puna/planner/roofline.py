"""How fast a model runs: what each step reads and computes, beside what the machine reaches of either.

A step takes the longer of the two for its weights (Williams, Waterman and Patterson 2009), then the cache that
attention reads, and a little for each layer and each activation. Knows nothing of where the rates come from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from puna.models import KV_TYPES, MAX_TOKENS
from puna.planner.anatomy import Anatomy, Matrix
from puna.planner.flops import activations, forward, of_matrix, tokens_of
from puna.planner.memory import OTHER_KV_TYPES, packed
from puna.planner.rates import Rates

Bound = Literal["memory", "compute"]


@dataclass(frozen=True, slots=True)
class Step:
    """Seconds of one step, by what they go to."""

    reading: float  # weights, as far as the machine waits for them
    computing: float  # products with weights, as far as they take longer than reading
    attention: float
    overhead: float

    @property
    def seconds(self) -> float:
        """All."""
        return self.reading + self.computing + self.attention + self.overhead

    @property
    def bound(self) -> Bound:
        """What it waits for most."""
        return "memory" if self.reading > self.computing else "compute"


@dataclass(frozen=True, slots=True)
class Speed:
    """What is predicted of a model on a machine."""

    prefill: float  # tokens a second of a prompt
    decode: float  # tokens a second of one answer, from its beginning
    decode_full: float  # the same where the context is full
    batch: float  # tokens a second of all answers together
    first_token: float  # seconds from a prompt to its answer's first token
    intensity: float  # operations for each byte that decoding reads
    ridge: float  # operations for each byte from which on a machine computes longer than it reads
    prefill_bound: Bound
    decode_bound: Bound
    joules_per_token: float | None  # at full power, decoding one answer


def predict(anatomy: Anatomy, rates: Rates, *, prompt: int, context: int, sequences: int, kv_type: str) -> Speed:
    """The speeds of prompts and answers.

    Args:
        prompt: tokens of the prompt.
        context: tokens of a full context.
        sequences: answers at once in `batch`.
    """
    prompt_seconds = sum(step.seconds for step in prefill_steps(anatomy, rates, prompt))
    first, full = (decode_step(anatomy, rates, depth, 1, kv_type) for depth in (prompt, context - 1))
    together = decode_step(anatomy, rates, prompt, sequences, kv_type)
    read = sum(_read(matrix, rates, 1) for matrix in (*anatomy.matrices, *([anatomy.head] if anatomy.head else [])))
    return Speed(
        prefill=prompt / prompt_seconds,
        decode=1 / first.seconds,
        decode_full=1 / full.seconds,
        batch=sequences / together.seconds,
        first_token=prompt_seconds,
        intensity=forward(anatomy, 1, start=prompt).total / read,
        ridge=rates.peak / rates.bandwidth,
        prefill_bound=next(prefill_steps(anatomy, rates, prompt)).bound,
        decode_bound=first.bound,
        joules_per_token=rates.power * first.seconds if rates.power else None,
    )


def decode_step(anatomy: Anatomy, rates: Rates, depth: int, sequences: int, kv_type: str) -> Step:
    """One token more for each of some answers, before which there are `depth`."""
    step = _products(anatomy, rates, sequences, sequences)
    types = KV_TYPES if rates.engine == "puna" else OTHER_KV_TYPES
    kept = sum(layer.cached * min(depth, layer.window or depth) for layer in anatomy.attention if layer)
    return replace(step, attention=sequences * kept * float(types[kv_type]) / rates.kv_read)


def prefill_steps(anatomy: Anatomy, rates: Rates, tokens: int, start: int = 0) -> Iterator[Step]:
    """The steps of a prompt; the last computes logits, for one token."""
    for first in range(start, start + tokens, MAX_TOKENS):
        count = min(MAX_TOKENS, start + tokens - first)
        step = _products(anatomy, rates, count, outputs=int(first + count == start + tokens))
        yield replace(step, attention=forward(anatomy, count, start=first, outputs=0).attention / rates.attention)


def _products(anatomy: Anatomy, rates: Rates, tokens: int, outputs: int) -> Step:
    """The products of so many tokens, and the logits of `outputs` of them."""
    counted = [(matrix, tokens_of(anatomy, matrix, tokens, outputs)) for matrix in anatomy.matrices]
    if anatomy.head is not None:
        counted.append((anatomy.head, outputs))
    reading = computing = 0.0
    for matrix, rows in counted:
        rate = rates.of(matrix.type)
        reads = _read(matrix, rates, rows) / rate.read
        computes = rows * of_matrix(matrix) / rate.compute
        if computes > reads:
            computing += computes
        else:
            reading += reads
    beside = activations(anatomy, tokens, outputs) * rates.activation_seconds
    return Step(reading, computing, 0.0, anatomy.layers * rates.layer_seconds + beside)


def _read(matrix: Matrix, rates: Rates, tokens: int) -> float:
    """Bytes that so many tokens together read of a matrix; each expert once, as long as there are more of them."""
    size = packed(matrix) if rates.engine == "puna" else matrix.nbytes
    return size * min(matrix.copies, matrix.used * tokens) / matrix.copies
