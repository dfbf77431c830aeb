"""Granite, and MiniCPM: Llama with factors of embeddings, residuals and logits, as in muP (Hu et al. 2024)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    c, decoder = config, Decoder.of(forward, weights, config, adjacent_pairs=True)
    x = forward.scale(forward.input, c.embedding_scale)
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        a, x = layer.keep(layer.attention(layer.rope(q), layer.rope(k), v, scale=c.attention_scale), x)
        forward.add(x, layer.linear(a, "attn_output", c.embedding_length), c.residual_scale)
        f = layer.linear(layer.gated(layer.rms_norm(x, "ffn_norm"), "silu"), "ffn_down", c.embedding_length)
        forward.add(x, f, c.residual_scale)
    forward.scale(decoder.logits(decoder.rms_norm(x, "output_norm")), 1 / c.logit_scale)
