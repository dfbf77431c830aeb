"""Gemma: GELU gates and embeddings times the square root of their length (Gemma Team 2024).

RMSNorm multiplies by 1 + w; GGUF stores that sum.
"""

from __future__ import annotations

from math import sqrt

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder = Decoder.of(forward, weights, config)
    x = forward.scale(forward.input, sqrt(config.embedding_length))
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        a = layer.attention(layer.rope(q), layer.rope(k), v)
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        layer.add_linear(layer.gated(layer.rms_norm(x, "ffn_norm"), "gelu_tanh"), "ffn_down", to=x)
    decoder.logits(decoder.rms_norm(x, "output_norm"))
