"""Falcon: attention and feed-forward beside each other (Almazrouei et al. 2023).

The 7B has one head of keys and one norm for both; the 40B groups of heads, and a norm for attention alone.
"""

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
        own = layer.layer_norm(x, "attn_norm_2", to="norm_2") if "attn_norm_2" in layer else h
        q, k, v = layer.queries_keys_values(own)
        a, h, x = layer.keep(layer.attention(layer.rope(q), layer.rope(k), v), h, x)
        layer.add_linear(a, "attn_output", to=x)
        layer.add_linear(layer.activated(h, "gelu"), "ffn_down", to=x)
    decoder.logits(decoder.layer_norm(x, "output_norm"))
