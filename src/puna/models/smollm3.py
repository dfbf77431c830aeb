"""SmolLM3: Llama's forward pass, but every fourth layer does not rotate (Bakouch et al. 2025; Yang et al. 2025)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x = Decoder.of(forward, weights, config, adjacent_pairs=True), forward.input
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        if layer.index % 4 < 3:
            q, k = layer.rope(q), layer.rope(k)
        a, x = layer.keep(layer.attention(q, k, v), x)
        layer.add_linear(a, "attn_output", to=x)
        layer.add_linear(layer.gated(layer.rms_norm(x, "ffn_norm"), "silu"), "ffn_down", to=x)
    decoder.logits(decoder.rms_norm(x, "output_norm"))
