"""Qwen1.5-MoE and Qwen2-MoE: Qwen2 with experts, and one that every token takes, gated by a sigmoid (Yang et al. 2024).

The weights of a token's experts are their share of the softmax over all experts: they do not add up to 1.
"""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.experts import add_experts, add_shared_expert, router_of
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x = Decoder.of(forward, weights, config), forward.input
    router = router_of(config, normalise=False)
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        a = layer.attention(layer.rope(q), layer.rope(k), v, window=config.sliding_window)
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        h = layer.rms_norm(x, "ffn_norm")
        add_experts(layer, h, router, to=x)
        add_shared_expert(layer, h, to=x)
    decoder.logits(decoder.rms_norm(x, "output_norm"))
