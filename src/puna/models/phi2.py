"""Phi-1.5 and Phi-2: attention and feed-forward beside each other, of the same norm (Li et al. 2023)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x = Decoder.of(forward, weights, config), forward.input
    for layer in decoder.layers():
        h = layer.layer_norm(x, "attn_norm")
        q, k, v = layer.queries_keys_values(h)
        a, h, x = layer.keep(layer.attention(layer.rope(q), layer.rope(k), v), h, x)
        layer.add_linear(a, "attn_output", to=x)
        layer.add_linear(layer.activated(h, "gelu_tanh"), "ffn_down", to=x)
    decoder.logits(decoder.layer_norm(x, "output_norm"))
