"""Llama 1 to 3.x, Mistral, InternLM 2 and all that share their forward pass (Touvron et al. 2023).

GGUF stores a llama's query and key rows so that rotary pairs lie side by side.
"""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.decoder import record_decoder
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    record_decoder(Decoder.of(forward, weights, config, adjacent_pairs=True))
