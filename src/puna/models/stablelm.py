"""StableLM 3B and 2 1.6B: Llama with LayerNorm, and part of a head rotates (Bellagente et al. 2024)."""

from __future__ import annotations

from puna.errors import UnsupportedModel
from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x = Decoder.of(forward, weights, config), forward.input
    if "blk.0.ffn_norm.weight" not in weights:
        raise UnsupportedModel("StableLM 2 12B, whose attention and feed-forward share a norm, cannot be run yet")
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.layer_norm(x, "attn_norm"))
        a, x = layer.keep(layer.attention(layer.rope(q), layer.rope(k), v), x)
        layer.add_linear(a, "attn_output", to=x)
        layer.add_linear(layer.gated(layer.layer_norm(x, "ffn_norm"), "silu"), "ffn_down", to=x)
    decoder.logits(decoder.layer_norm(x, "output_norm"))
