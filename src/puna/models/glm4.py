"""GLM-4 (0414): norms before and after attention and feed-forward; half of a head rotates (GLM Team 2024)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x, width = (
        Decoder.of(forward, weights, config, adjacent_pairs=True),
        forward.input,
        config.embedding_length,
    )
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        a, x = layer.keep(layer.attention(layer.rope(q), layer.rope(k), v), x)
        forward.add(x, layer.rms_norm(layer.linear(a, "attn_output", width), "post_attention_norm"))
        f = layer.linear(layer.gated(layer.rms_norm(x, "ffn_norm"), "silu"), "ffn_down", width)
        forward.add(x, layer.rms_norm(f, "post_ffw_norm"))
    decoder.logits(decoder.rms_norm(x, "output_norm"))
