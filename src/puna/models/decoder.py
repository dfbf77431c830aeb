"""The decoder that most models share: pre-norm attention with rotary positions, then a gated feed-forward."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.gguf import ModelConfig
from puna.models.forward import Activation, Forward
from puna.models.weights import Weights

Order = NDArray[np.int32] | None


def record_decoder(forward: Forward, weights: Weights, config: ModelConfig, *, q_order: Order, k_order: Order) -> None:
    """Record all layers and the logits; biases are added where the file has them."""
    c, x = config, forward.input
    for layer in range(c.block_count):
        blk = f"blk.{layer}"
        h = forward.rms_norm(x, weights.vector(f"{blk}.attn_norm.weight", c.embedding_length))
        a = _attention(forward, weights, c, h, blk, q_order, k_order)
        if layer == c.block_count - 1:  # what follows concerns only the rows whose logits are wanted
            a, x = forward.output_rows(a, "output_attention"), forward.output_rows(x, "output")
        width = c.head_count * c.value_length
        output = weights.matrix(f"{blk}.attn_output.weight", c.embedding_length, width)
        forward.linear_add(a, output, to=x, bias=_bias(weights, f"{blk}.attn_output", c.embedding_length))
        h = forward.rms_norm(x, weights.vector(f"{blk}.ffn_norm.weight", c.embedding_length))
        g = _gated(forward, weights, c, h, blk)
        down = weights.matrix(f"{blk}.ffn_down.weight", c.embedding_length, c.feed_forward_length)
        forward.linear_add(g, down, to=x)
    last = forward.rms_norm(x, weights.vector("output_norm.weight", c.embedding_length))
    head = "output.weight" if "output.weight" in weights else "token_embd.weight"  # tied embeddings
    forward.logits = forward.linear(last, weights.matrix(head, c.vocab_size, c.embedding_length), "logits")


def _attention(
    f: Forward, weights: Weights, c: ModelConfig, h: Activation, blk: str, q_order: Order, k_order: Order
) -> Activation:
    def project(part: str, rows: int, order: Order) -> Activation:
        matrix = weights.matrix(f"{blk}.attn_{part}.weight", rows, c.embedding_length, order)
        return f.linear(h, matrix, part, bias=_bias(weights, f"{blk}.attn_{part}", rows, order))

    q = project("q", c.head_count * c.key_length, q_order)
    k = project("k", c.head_count_kv * c.key_length, k_order)
    v = project("v", c.head_count_kv * c.value_length, None)
    f.rope(q, c.head_count)
    f.rope(k, c.head_count_kv)
    return f.attention(q, k, v, window=c.sliding_window)


def _bias(weights: Weights, part: str, rows: int, order: Order = None) -> NDArray[np.float32] | None:
    return weights.vector(f"{part}.bias", rows, order) if f"{part}.bias" in weights else None


def _gated(f: Forward, weights: Weights, c: ModelConfig, h: Activation, blk: str) -> Activation:
    """silu(W_gate h) * (W_up h)"""
    gate = weights.matrix(f"{blk}.ffn_gate.weight", c.feed_forward_length, c.embedding_length)
    up = weights.matrix(f"{blk}.ffn_up.weight", c.feed_forward_length, c.embedding_length)
    return f.silu_gate(f.linear(h, gate, "gate"), f.linear(h, up, "up"))
