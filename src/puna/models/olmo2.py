"""OLMo 2: norms after attention and feed-forward, not before, and of all queries and keys (OLMo Team 2024).

OLMo 3 has a window in three of four layers, where rope is not stretched; GGUF calls it by the same name.
"""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x, width = Decoder.of(forward, weights, config), forward.input, config.embedding_length
    local = forward.rope_table(config.rope.unscaled(config.rope.freq_base))
    for layer in decoder.layers():
        window = config.window(layer.index, every=4)
        table = None if window is None else local
        q, k, v = layer.queries_keys_values(x)
        q, k = layer.rms_norm(q, "attn_q_norm", to="attn_q"), layer.rms_norm(k, "attn_k_norm", to="attn_k")
        a, x = layer.keep(layer.attention(layer.rope(q, table), layer.rope(k, table), v, window=window), x)
        forward.add(x, layer.rms_norm(layer.linear(a, "attn_output", width), "post_attention_norm"))
        f = layer.linear(layer.gated(x, "silu"), "ffn_down", width)
        forward.add(x, layer.rms_norm(f, "post_ffw_norm"))
    decoder.logits(decoder.rms_norm(x, "output_norm"))
