"""Gemma 2: norms after attention and feed-forward too, soft caps, a window in every other layer (Gemma Team 2024)."""

from __future__ import annotations

from math import sqrt

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights

_LAYERS_OF_27B = 46  # its queries are scaled by another number than the heads' length, which GGUF has no key for


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    c, decoder = config, Decoder.of(forward, weights, config)
    length = c.embedding_length / c.head_count if c.block_count == _LAYERS_OF_27B else c.key_length
    scale = c.attention_scale or 1 / sqrt(length)
    x = forward.scale(forward.input, sqrt(c.embedding_length))
    for layer in decoder.layers():
        window = c.window(layer.index, every=2)
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        a = layer.attention(
            layer.rope(q), layer.rope(k), v, scale=scale, window=window, softcap=c.attention_softcap or 0.0
        )
        a, x = layer.keep(a, x)
        o = layer.linear(a, "attn_output", c.embedding_length)
        forward.add(x, layer.rms_norm(o, "post_attention_norm"))
        f = layer.linear(layer.gated(layer.rms_norm(x, "ffn_norm"), "gelu_tanh"), "ffn_down", c.embedding_length)
        forward.add(x, layer.rms_norm(f, "post_ffw_norm"))
    logits = decoder.logits(decoder.rms_norm(x, "output_norm"))
    if c.logit_softcap is not None:
        forward.soft_cap(logits, c.logit_softcap)
