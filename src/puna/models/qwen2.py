"""Qwen2 and Qwen2.5: Llama's forward pass with biases on queries, keys and values (Yang et al. 2024)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.decoder import record_decoder
from puna.models.forward import Forward
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass; GGUF already stores rotary pairs as halves."""
    record_decoder(forward, weights, config, q_order=None, k_order=None)
