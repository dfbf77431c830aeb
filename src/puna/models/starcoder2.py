"""StarCoder2: LayerNorm, biases everywhere and GELU, with rotary positions (Lozhkov et al. 2024)."""

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
        a = layer.attention(layer.rope(q), layer.rope(k), v, window=config.window(layer.index))
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        layer.add_linear(layer.activated(layer.layer_norm(x, "ffn_norm"), "gelu_tanh"), "ffn_down", to=x)
    decoder.logits(decoder.layer_norm(x, "output_norm"))
