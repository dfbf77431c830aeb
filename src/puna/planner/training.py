"""What training a model costs: operations, memory, time. Knows no framework.

Memory: weights, gradients and the optimizer's states by the number of parameters (ZeRO, arXiv 1910.02054), activations
by layer (Korthikanti et al. 2022, arXiv 2205.05198, equation 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from puna.errors import InvalidRequest
from puna.planner.anatomy import Anatomy
from puna.planner.flops import Recompute, Training, lora_parameters, training
from puna.planner.rates import Rates

Optimizer = Literal["adamw", "adamw8bit"]
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")
OPTIMIZERS: tuple[Optimizer, ...] = ("adamw", "adamw8bit")

# Bytes of a trained parameter in mixed precision: 2 weights, 2 gradients, 4 master weights, and both moments.
STATES = {"adamw": 16, "adamw8bit": 10}
FROZEN = 2  # bytes of a weight that LoRA leaves alone
UTILISATION = 0.4  # of a GPU's 16-bit peak, model operations: between 35 and 54 % are published
MOST_TOKENS = 1 << 60


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Training on some tokens."""

    tokens: int
    sequence: int
    recompute: Recompute
    optimizer: Optimizer
    lora_rank: int | None
    gpus: int
    step: Training  # of one sequence
    flops: Training  # of all tokens
    states: int  # bytes of weights, gradients and optimizer, of all GPUs together
    activations: int  # bytes of one sequence
    seconds: float

    @property
    def memory(self) -> int:
        """Bytes of each GPU, where the states are divided among them (ZeRO-3) and each has a sequence."""
        return self.states // self.gpus + self.activations


def train(
    anatomy: Anatomy,
    rates: Rates,
    *,
    tokens: int,
    sequence: int,
    recompute: Recompute = "none",
    optimizer: Optimizer = "adamw",
    lora_rank: int | None = None,
    gpus: int = 1,
) -> TrainingPlan:
    """The cost on a machine, at UTILISATION of its peak for floats.

    Raises:
        InvalidRequest: numbers that make no sense.
    """
    if not 1 <= tokens <= MOST_TOKENS or not 1 <= sequence <= 1 << 24 or not 1 <= gpus <= 1 << 20:
        raise InvalidRequest(f"training on {tokens} tokens in sequences of {sequence} with {gpus} GPUs: out of range")
    if lora_rank is not None and not 1 <= lora_rank <= 1 << 14:
        raise InvalidRequest(f"a LoRA rank of {lora_rank}: it must be 1 to {1 << 14}")
    step = training(anatomy, sequence, recompute=recompute, lora_rank=lora_rank)
    flops = step.times(-(-tokens // sequence))
    trained = anatomy.parameters if lora_rank is None else lora_parameters(anatomy, lora_rank)
    frozen = 0 if lora_rank is None else FROZEN * anatomy.parameters
    return TrainingPlan(
        tokens, sequence, recompute, optimizer, lora_rank, gpus, step, flops,
        states=STATES[optimizer] * trained + frozen,
        activations=activation_bytes(anatomy, sequence, recompute),
        seconds=flops.total / (UTILISATION * rates.float_peak * gpus),
    )  # fmt: skip


def activation_bytes(anatomy: Anatomy, sequence: int, recompute: Recompute) -> int:
    """Kept for the backward pass of one sequence, in 16 bits: s h (34 + 5 a s / h) for each layer; without the
    attention's own 34 s h; of a layer that is computed again its input, 2 s h, and one layer whole."""
    s, h = sequence, anatomy.embedding_length
    heads = max((layer.heads for layer in anatomy.attention if layer), default=0)
    scores = 5 * heads * s * s
    match recompute:
        case "none":
            return anatomy.layers * (34 * s * h + scores)
        case "selective":
            return anatomy.layers * 34 * s * h
        case "full":
            return anatomy.layers * 2 * s * h + 34 * s * h + scores
