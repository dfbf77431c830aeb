"""The decoder that most models share: pre-norm attention with rotary positions, then a gated feed-forward."""

from __future__ import annotations

from puna.models.experts import add_experts, router_of
from puna.models.layers import Decoder


def record_decoder(decoder: Decoder) -> None:
    """x += W attention(norm x); x += W (silu(W norm x) * W norm x), in every layer, or the same of a few experts."""
    x = decoder.forward.input
    for layer in decoder.layers():
        q, k, v = layer.queries_keys_values(layer.rms_norm(x, "attn_norm"))
        a = layer.attention(layer.rope(q), layer.rope(k), v, window=decoder.config.window(layer.index))
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        h = layer.rms_norm(x, "ffn_norm")
        if "ffn_gate_inp" in layer:
            add_experts(layer, h, router_of(decoder.config), to=x)
        else:
            layer.add_linear(layer.gated(h, "silu"), "ffn_down", to=x)
    decoder.logits(decoder.rms_norm(x, "output_norm"))
