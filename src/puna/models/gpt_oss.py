"""gpt-oss: experts with biases and a clamped SwiGLU, attention with sinks and a window in every other layer.

The experts are those with the largest logits, their weights the softmax of these (OpenAI 2025, model card).
"""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.kernels.routing_kinds import SOFTMAX_OF_CHOSEN
from puna.models.experts import add_experts, router_of
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x = Decoder.of(forward, weights, config), forward.input
    router = router_of(config, gating=SOFTMAX_OF_CHOSEN, normalise=False)
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        sinks, window = layer.vector("attn_sinks.weight", config.head_count), config.window(layer.index, every=2)
        a = layer.attention(layer.rope(q), layer.rope(k), v, window=window, sinks=sinks)
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        add_experts(layer, layer.rms_norm(x, "post_attention_norm"), router, x, "clamped_silu")
    decoder.logits(decoder.rms_norm(x, "output_norm"))
