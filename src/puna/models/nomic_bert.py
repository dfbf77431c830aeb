"""nomic-embed-text: BERT with rotary positions and SwiGLU, without biases (Nussbaum et al. 2024)."""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    encoder, x = Decoder.of(forward, weights, config), forward.input
    encoder.add_token_types(x)
    x = encoder.layer_norm(x, "token_embd_norm", "x")
    for layer in encoder.layers():
        q, k, v = layer.queries_keys_values(x)
        a = layer.attention(layer.rope(q), layer.rope(k), v)
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        x = layer.layer_norm(x, "attn_output_norm", "x")
        layer.add_linear(layer.gated(x, "silu"), "ffn_down", to=x)
        x = layer.layer_norm(x, "layer_output_norm", "x")
    forward.states = x
