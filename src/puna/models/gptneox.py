"""GPT-NeoX and Pythia: part of a head rotates, attention and feed-forward beside each other (Black et al. 2022)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x = Decoder.of(forward, weights, config), forward.input
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.layer_norm(x, "attn_norm"))
        a, x = layer.keep(layer.attention(layer.rope(q), layer.rope(k), v), x)
        if config.parallel_residual:
            h = layer.layer_norm(x, "ffn_norm")
            layer.add_linear(a, "attn_output", to=x)
        else:
            layer.add_linear(a, "attn_output", to=x)
            h = layer.layer_norm(x, "ffn_norm")
        layer.add_linear(layer.activated(h, "gelu"), "ffn_down", to=x)
    decoder.logits(decoder.layer_norm(x, "output_norm"))
