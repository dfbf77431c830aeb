"""BERT and RoBERTa as encoders of texts (Devlin et al. 2019; Liu et al. 2019; XLM-R: Conneau et al. 2020).

Every token sees the whole text. Positions are learned; LayerNorm comes after each residual connection.
"""

from __future__ import annotations

from puna.gguf import ModelConfig
from puna.models.forward import Forward
from puna.models.layers import Decoder
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    encoder, x = Decoder.of(forward, weights, config), forward.input
    encoder.add_token_types(x)
    encoder.add_positions(x)
    x = encoder.layer_norm(x, "token_embd_norm", "x")
    for layer in encoder.layers():
        a = layer.attention(*layer.queries_keys_values(x))
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        x = layer.layer_norm(x, "attn_output_norm", "x")
        layer.add_linear(layer.activated(x, "gelu"), "ffn_down", to=x)
        x = layer.layer_norm(x, "layer_output_norm", "x")
    forward.states = encoder.ranked(x) if config.pooling == "rank" else x
