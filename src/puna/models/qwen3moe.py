"""Qwen3-MoE: Qwen3 whose feed-forward networks are experts, with weights that add up to 1 (Yang et al. 2025)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.experts import add_experts, router_of
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x = Decoder.of(forward, weights, config), forward.input
    router = router_of(config)
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        q, k = layer.rms_norm_heads(q, "attn_q_norm"), layer.rms_norm_heads(k, "attn_k_norm")
        a = layer.attention(layer.rope(q), layer.rope(k), v, window=config.sliding_window)
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        add_experts(layer, layer.rms_norm(x, "ffn_norm"), router, to=x)
    decoder.logits(decoder.rms_norm(x, "output_norm"))
