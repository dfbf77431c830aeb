"""The blocks that decoders are made of, under the names of their tensors in the file.

An architecture's file calls them in the order of its formula. A bias is added wherever the file has one. Knows no
architecture, and no kernel: those are `forward`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puna.gguf import ModelConfig
from puna.models.forward import Activation, ActivationFunction, Forward
from puna.models.rope import RopeTable
from puna.models.slots import add_low_rank
from puna.models.weights import Weights

Vector = NDArray[np.float32]


def halves_from_pairs(heads: int, size: int, rotated: int) -> NDArray[np.int32]:
    """The order of rows that turns (0, 1), (2, 3), ... of each head into halves (0, 2, ...), (1, 3, ...)."""
    head = np.concatenate([np.arange(0, rotated, 2), np.arange(1, rotated, 2), np.arange(rotated, size)])
    order: NDArray[np.int32] = (np.arange(heads)[:, None] * size + head).reshape(-1).astype(np.int32)
    return order


@dataclass(frozen=True, slots=True)
class Part:
    """Tensors with a common name, such as blk.3.attn_q: those of the whole model have no prefix."""

    forward: Forward
    weights: Weights
    config: ModelConfig
    prefix: str

    def __contains__(self, name: str) -> bool:
        """Whether the file has a weight of this name here."""
        return f"{self.prefix}{name}.weight" in self.weights

    def rms_norm(self, x: Activation, name: str, to: str = "norm") -> Activation:
        """x / rms(x) * weight, in the buffer `to`."""
        return self.forward.rms_norm(x, self._vector(f"{name}.weight", x.width), to)

    def layer_norm(self, x: Activation, name: str, to: str = "norm") -> Activation:
        """(x - mean) / deviation * weight (+ bias), in the buffer `to`."""
        weight, bias = self._vector(f"{name}.weight", x.width), self._bias(name, x.width)
        return self.forward.layer_norm(x, weight, bias, to)

    def linear(self, x: Activation, name: str, rows: int) -> Activation:
        """W x (+ bias)."""
        matrix = self.weights.matrix(f"{self.prefix}{name}.weight", (rows, x.width))
        out = self.forward.linear(x, matrix, name, bias=self._bias(name, rows))
        add_low_rank(self.forward, x, matrix, to=out)
        return out

    def linear_of(self, x: Activation, name: str, rows: int, order: NDArray[np.int32], to: str) -> Activation:
        """Those rows of W x (+ bias) that `order` names, of `rows` in the file, in the buffer `to`."""
        matrix = self.weights.matrix(f"{self.prefix}{name}.weight", (rows, x.width), order)
        out = self.forward.linear(x, matrix, to, bias=self._bias(name, rows, order))
        add_low_rank(self.forward, x, matrix, to=out)
        return out

    def add_linear(self, x: Activation, name: str, to: Activation) -> None:
        """to += W x (+ bias): a residual connection."""
        matrix = self.weights.matrix(f"{self.prefix}{name}.weight", (to.width, x.width))
        self.forward.linear_add(x, matrix, to, bias=self._bias(name, to.width))
        add_low_rank(self.forward, x, matrix, to=to)

    def vector(self, name: str, length: int) -> Vector | None:
        """A vector, if the file has it."""
        return self._vector(name, length) if self.prefix + name in self.weights else None

    def _vector(self, name: str, length: int, order: NDArray[np.int32] | None = None) -> Vector:
        return self.weights.vector(self.prefix + name, length, order)

    def _bias(self, name: str, length: int, order: NDArray[np.int32] | None = None) -> Vector | None:
        return self._vector(f"{name}.bias", length, order) if f"{self.prefix}{name}.bias" in self.weights else None


@dataclass(frozen=True, slots=True)
class Decoder(Part):
    """What comes before, around and after the layers."""

    adjacent_pairs: bool  # the file's rows of q and k have rotary pairs side by side; our kernel rotates halves

    @classmethod
    def of(
        cls, forward: Forward, weights: Weights, config: ModelConfig, *, adjacent_pairs: bool = False
    ) -> Decoder:  # fmt: skip
        """Of a model file."""
        return cls(forward, weights, config, "", adjacent_pairs)

    def add_positions(self, x: Activation) -> Activation:
        """x += the learned embedding of each row's position."""
        name = "position_embd.weight"
        return self.forward.add_positions(x, self.weights.table(name, (self.config.context_length, x.width)))

    def add_token_types(self, x: Activation) -> None:
        """x += the learned embedding of each row's type, the first text or the second of a pair; if the file has it."""
        if "token_types" in self:
            name = "token_types.weight"
            self.forward.add_token_types(x, self.weights.table(name, (self.weights.rows(name), x.width)))

    def ranked(self, x: Activation) -> Activation:
        """A row for each label: what a head for ranking (or classifying) texts makes of the states."""
        if "cls" in self:
            x = self.forward.soft_cap(self.linear(x, "cls", x.width), 1.0)  # tanh
        return self.linear(x, "cls.output", self.config.labels)

    def layers(self) -> Iterator[Layer]:
        """In order; what is recorded for one stands on the tape before the next is given."""
        for index in range(self.config.block_count):
            prefix = f"blk.{index}."
            yield Layer(self.forward, self.weights, self.config, prefix, index, self.adjacent_pairs)

    def logits(self, states: Activation) -> Activation:
        """The end of the forward pass: final states, and W_output times those whose logits are wanted."""
        forward = self.forward
        name = "output" if "output" in self else "token_embd"  # tied embeddings
        forward.states = states
        forward.logits = self.linear(forward.output_rows(states), name, self.config.vocab_size)
        return forward.logits


@dataclass(frozen=True, slots=True)
class Layer(Part):
    """One layer's operations."""

    index: int
    adjacent_pairs: bool

    def queries_keys_values(self, h: Activation) -> tuple[Activation, Activation, Activation]:
        """W h (+ bias) for each, from three matrices or from one that has them below each other."""
        c = self.config
        q, k, v = c.head_count * c.key_length, c.head_count_kv * c.key_length, c.head_count_kv * c.value_length
        return (
            self._project(h, "attn_q", range(q), self._order(c.head_count)),
            self._project(h, "attn_k", range(q, q + k), self._order(c.head_count_kv)),
            self._project(h, "attn_v", range(q + k, q + k + v), np.arange(v, dtype=np.int32)),
        )

    def _order(self, heads: int) -> NDArray[np.int32]:
        """In which order the rows of q or k are taken from the file."""
        size = self.config.key_length
        return halves_from_pairs(heads, size, self.config.rope.dimension_count if self.adjacent_pairs else 0)

    def _project(self, h: Activation, name: str, joint: range, order: NDArray[np.int32]) -> Activation:
        """joint: the rows that it has in attn_qkv."""
        source, rows = name, len(joint)
        if "attn_qkv" in self:
            c = self.config
            source, order = "attn_qkv", order + np.int32(joint.start)
            rows = (c.head_count + c.head_count_kv) * c.key_length + c.head_count_kv * c.value_length
        return self.linear_of(h, source, rows, order, name)

    def rope(self, x: Activation, table: RopeTable | None = None) -> Activation:
        """Queries or keys, rotated in place by their positions; table: None for the model's own."""
        return self.forward.rope(x, x.width // self.config.key_length, table)

    def rms_norm_heads(self, x: Activation, name: str) -> Activation:
        """RMSNorm of each head of queries or keys, in place, all with the same weight."""
        size = self.config.key_length
        heads = x.width // size
        order = self._order(1)
        weight = np.tile(self._vector(f"{name}.weight", size, order)[:size], heads)
        self.forward.rms_norm_heads(x, weight, heads)
        return x

    def attention(
        self, q: Activation, k: Activation, v: Activation, *, scale: float | None = None, window: int | None = None,
        softcap: float = 0.0, sinks: Vector | None = None,
    ) -> Activation:  # fmt: skip
        """softmax(q k) v, of what a row may see; arguments as `Forward.attention` has them."""
        return self.forward.attention(q, k, v, scale=scale, window=window, softcap=softcap, sinks=sinks)

    def keep(self, *activations: Activation) -> tuple[Activation, ...]:
        """In the last layer, after attention: of each the rows of which something is wanted; in others all rows."""
        if self.index < self.config.block_count - 1:
            return activations
        return tuple(self.forward.kept_rows(x, f"kept_{i}") for i, x in enumerate(activations))

    def gated(self, h: Activation, function: ActivationFunction) -> Activation:
        """function(W_gate h) * (W_up h)"""
        rows = self.config.feed_forward_length
        if "ffn_gate" in self:
            gate, up = self.linear(h, "ffn_gate", rows), self.linear(h, "ffn_up", rows)
        else:  # one above the other in one matrix
            both = np.arange(2 * rows, dtype=np.int32)
            gate = self.linear_of(h, "ffn_up", 2 * rows, both[:rows], "ffn_gate")
            up = self.linear_of(h, "ffn_up", 2 * rows, both[rows:], "ffn_up")
        return self.forward.gate(function, gate, up)

    def activated(self, h: Activation, function: ActivationFunction) -> Activation:
        """function(W_up h)"""
        return self.forward.activate(function, self.linear(h, "ffn_up", self.config.feed_forward_length))
