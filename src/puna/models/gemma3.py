"""Gemma 3: Gemma 2 with norms of queries and keys in place of soft caps (Gemma Team 2025).

Of six layers five have a window, and a rope of their own that is not stretched to longer contexts.
"""

from __future__ import annotations

from math import sqrt

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights

_LAYERS_OF_27B = 62  # its queries are scaled by another number than the heads' length, which GGUF has no key for


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    c, decoder = config, Decoder.of(forward, weights, config)
    length = c.embedding_length / c.head_count if c.block_count == _LAYERS_OF_27B else c.key_length
    scale = c.attention_scale or 1 / sqrt(length)
    local = forward.rope_table(c.rope.unscaled(c.rope.window_freq_base))
    x = forward.scale(forward.input, sqrt(c.embedding_length))
    for layer in decoder.layers():
        window = c.window(layer.index, every=6)
        table = None if window is None else local
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        q = layer.rope(layer.rms_norm_heads(q, "attn_q_norm"), table)
        k = layer.rope(layer.rms_norm_heads(k, "attn_k_norm"), table)
        a, x = layer.keep(layer.attention(q, k, v, scale=scale, window=window), x)
        o = layer.linear(a, "attn_output", c.embedding_length)
        forward.add(x, layer.rms_norm(o, "post_attention_norm"))
        f = layer.linear(layer.gated(layer.rms_norm(x, "ffn_norm"), "gelu_tanh"), "ffn_down", c.embedding_length)
        forward.add(x, layer.rms_norm(f, "post_ffw_norm"))
    decoder.logits(decoder.rms_norm(x, "output_norm"))
