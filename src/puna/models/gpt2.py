"""GPT-2: learned positions, LayerNorm, biases everywhere and GELU (Radford et al. 2019)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder = Decoder.of(forward, weights, config)
    x = decoder.add_positions(forward.input)
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.layer_norm(x, "attn_norm"))
        a, x = layer.keep(layer.attention(q, k, v), x)
        layer.add_linear(a, "attn_output", to=x)
        layer.add_linear(layer.activated(layer.layer_norm(x, "ffn_norm"), "gelu_tanh"), "ffn_down", to=x)
    decoder.logits(decoder.layer_norm(x, "output_norm"))
