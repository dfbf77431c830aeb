"""DeepSeek V2 and V3: multi-head latent attention, experts beside a shared one (DeepSeek-AI 2024).

Keys and values come from one short vector a token and a rotating part that all heads share. New files have the matrices
that make keys and values of it apart (attn_k_b, attn_v_b): then queries are brought to the vector, attention's output
is brought back from it, and the cache holds nothing else. Old files have them in one (attn_kv_b) that cannot be
turned over once it is quantised: there keys and values are made, and held.
"""

from __future__ import annotations

from math import log, sqrt

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import LatentConfig, ModelConfig
from puna.kernels.routing_kinds import SIGMOID
from puna.models.experts import add_experts, add_shared_expert, router_of
from puna.models.forward import Activation, Forward
from puna.models.layers import Decoder, Layer, halves_from_pairs
from puna.models.slots import Slots, by_head, from_heads, join_heads, to_slots
from puna.models.weights import Weights


def record(forward: Forward, weights: Weights, config: ModelConfig) -> None:
    """Record the forward pass."""
    decoder, x = Decoder.of(forward, weights, config), forward.input
    router = None
    if config.experts is not None:  # V2 ranks groups by their best expert, V3 (with sigmoids) by their best two
        best = 2 if config.experts.gating == SIGMOID else 1
        router = router_of(config, normalise=False, best_of_group=best)
    attention = _Attention(forward, config)
    for layer in decoder.layers():
        a = attention.of(layer, layer.rms_norm(x, "attn_norm"))
        a, x = layer.keep(a, x)
        layer.add_linear(a, "attn_output", to=x)
        h = layer.rms_norm(x, "ffn_norm")
        if router is not None and "ffn_gate_inp" in layer:
            add_experts(layer, h, router, to=x)
            add_shared_expert(layer, h, to=x)
        else:
            layer.add_linear(layer.gated(h, "silu"), "ffn_down", to=x)
    decoder.logits(decoder.rms_norm(x, "output_norm"))


class _Attention:
    """Multi-head latent attention."""

    def __init__(self, forward: Forward, config: ModelConfig) -> None:
        self._forward, self._config, self._heads = forward, config, config.head_count
        self._latent = _latent(config)
        self._rotating = config.rope.dimension_count
        self._plain = self._latent.key_length - self._rotating  # of a head's key, what does not rotate
        sizes = (self._plain, self._rotating, self._latent.rank, self._latent.value_length)
        if any(size < 16 or size % 16 for size in sizes):
            raise UnsupportedModel(f"{config.name}: parts of heads of {sizes} are not multiples of 16")
        growth = 1 + config.rope.log_multiplier * log(config.rope.factor)
        self._scale = growth**2 / sqrt(self._latent.key_length)
        self._slots: Slots | None = None

    def of(self, layer: Layer, h: Activation) -> Activation:
        """Attention's output, before W_output."""
        plain, rotating = self._queries(layer, h)
        latent, shared = self._latents(layer, h)
        if "attn_k_b" in layer:
            return self._in_latent_space(layer, plain, rotating, latent, shared)
        return self._in_heads(layer, plain, rotating, latent, shared)

    def _queries(self, layer: Layer, h: Activation) -> tuple[Activation, Activation]:
        """The plain and the rotating parts of all heads."""
        name, size = "attn_q", self._latent.key_length
        if self._latent.query_rank is not None:
            h = layer.rms_norm(layer.linear(h, "attn_q_a", self._latent.query_rank), "attn_q_a_norm", to="q_norm")
            name = "attn_q_b"
        rows = self._heads * size
        plain = layer.linear_of(h, name, rows, _rows(self._heads, size, np.arange(self._plain)), "q_plain")
        turned = _rows(self._heads, size, self._plain + halves_from_pairs(1, self._rotating, self._rotating))
        rotating = layer.linear_of(h, name, rows, turned, "q_rotating")
        return plain, self._forward.rope(rotating, self._heads, size=self._rotating)

    def _latents(self, layer: Layer, h: Activation) -> tuple[Activation, Activation]:
        """What keys and values come from, and the part of keys that rotates, the same for all heads."""
        name, rank = "attn_kv_a_mqa", self._latent.rank
        rows = rank + self._rotating
        latent = layer.linear_of(h, name, rows, np.arange(rank, dtype=np.int32), "latent")
        turned = np.int32(rank) + halves_from_pairs(1, self._rotating, self._rotating)
        shared = layer.linear_of(h, name, rows, turned, "k_rotating")
        latent = layer.rms_norm(latent, "attn_kv_a_norm", to="latent_norm")
        return latent, self._forward.rope(shared, 1, size=self._rotating)

    def _in_latent_space(
        self, layer: Layer, plain: Activation, rotating: Activation, latent: Activation, shared: Activation
    ) -> Activation:
        """q W_k^T c instead of q (W_k c), and W_v (p c) instead of p (W_v c)."""
        self._check(self._latent.rank + self._rotating, self._latent.rank, heads=1)
        forward, slots = self._forward, self._slots or by_head(self._forward, self._heads)
        self._slots = slots
        brought = self._each_head(layer, to_slots(forward, plain, slots), "attn_k_b", self._latent.rank)
        q = join_heads(forward, brought, rotating, self._rotating, self._heads, "q", slots)
        k = join_heads(forward, latent, shared, self._rotating, 1, "k")
        a = layer.attention(q, k, latent, scale=self._scale)
        values = self._each_head(layer, to_slots(forward, a, slots), "attn_v_b", self._latent.value_length)
        return from_heads(forward, values, slots, "values")

    def _check(self, key: int, value: int, *, heads: int) -> None:
        """The cache is laid out by the metadata: it must be what the tensors make."""
        c = self._config
        found = (c.key_length, c.value_length, c.head_count_kv)
        if found != (key, value, heads):
            raise InvalidGGUF(f"{c.name}: the cache has keys, values and heads of {found}, not {(key, value, heads)}")

    def _each_head(self, layer: Layer, x: Activation, name: str, rows: int) -> Activation:
        matrix = layer.weights.matrix(f"{layer.prefix}{name}.weight", (self._heads, rows, x.width))
        return self._forward.linear(x, matrix, name)

    def _in_heads(
        self, layer: Layer, plain: Activation, rotating: Activation, latent: Activation, shared: Activation
    ) -> Activation:
        """Keys and values of every head."""
        self._check(self._latent.key_length, self._latent.value_length, heads=self._heads)
        forward, heads, length = self._forward, self._heads, self._latent.value_length
        size = self._plain + length
        keys, values = (_rows(heads, size, rows) for rows in np.split(np.arange(size), [self._plain]))
        k_plain = layer.linear_of(latent, "attn_kv_b", heads * size, keys, "k_plain")
        v = layer.linear_of(latent, "attn_kv_b", heads * size, values, "v")
        q = join_heads(forward, plain, rotating, self._rotating, heads, "q")
        k = join_heads(forward, k_plain, shared, self._rotating, heads, "k")
        return layer.attention(q, k, v, scale=self._scale)


def _rows(heads: int, size: int, of_head: NDArray[np.integer]) -> NDArray[np.int32]:
    """Of each head of so many rows those."""
    return (np.arange(heads)[:, None] * size + of_head).reshape(-1).astype(np.int32)


def _latent(config: ModelConfig) -> LatentConfig:
    if config.latent is None:
        raise InvalidGGUF(f"{config.name}: {config.architecture}.attention.kv_lora_rank is missing")
    return config.latent
