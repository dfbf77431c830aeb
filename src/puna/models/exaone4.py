"""EXAONE 4: norms after attention and feed-forward, and of each head of queries and keys (LG AI Research 2025).

The 32B has a window in three of four layers, and only those rotate; the small ones have none, and all layers do.
"""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x, width = Decoder.of(forward, weights, config), forward.input, config.embedding_length
    for layer in decoder.layers():
        window = config.window(layer.index, every=4)
        q, k, v = layer.queries_keys_values(x)
        q, k = layer.rms_norm_heads(q, "attn_q_norm"), layer.rms_norm_heads(k, "attn_k_norm")
        if config.sliding_window is None or window is not None:
            q, k = layer.rope(q), layer.rope(k)
        a, x = layer.keep(layer.attention(q, k, v, window=window), x)
        forward.add(x, layer.rms_norm(layer.linear(a, "attn_output", width), "post_attention_norm"))
        f = layer.linear(layer.gated(x, "silu"), "ffn_down", width)
        forward.add(x, layer.rms_norm(f, "post_ffw_norm"))
    decoder.logits(decoder.rms_norm(x, "output_norm"))
