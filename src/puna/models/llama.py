"""Llama 1 to 3.x, Mistral, TinyLlama and all that share their forward pass (Touvron et al. 2023).

GGUF stores a llama's query and key rows so that rotary pairs lie side by side; our kernel rotates halves, so the
rows are put back when they are packed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.gguf import ModelConfig
from puna.models.decoder import record_decoder
from puna.models.forward import Forward
from puna.models.weights import Weights


def halves_from_pairs(heads: int, size: int, rotated: int) -> NDArray[np.int32]:
    """The order of rows that turns (0, 1), (2, 3), ... of each head into halves (0, 2, ...), (1, 3, ...)."""
    head = np.concatenate([np.arange(0, rotated, 2), np.arange(1, rotated, 2), np.arange(rotated, size)])
    order: NDArray[np.int32] = (np.arange(heads)[:, None] * size + head).reshape(-1).astype(np.int32)
    return order


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    size, rotated = config.key_length, config.rope.dimension_count
    record_decoder(
        forward,
        weights,
        config,
        q_order=halves_from_pairs(config.head_count, size, rotated),
        k_order=halves_from_pairs(config.head_count_kv, size, rotated),
    )
