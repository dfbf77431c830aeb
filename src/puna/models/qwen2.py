"""Qwen2 and 2.5: Llama's forward pass with biases on queries, keys and values (Yang et al. 2024); EXAONE, without."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.decoder import record_decoder
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    record_decoder(Decoder.of(forward, weights, config))
