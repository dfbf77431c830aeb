"""Floating-point operations, exactly, layer by layer: of a forward pass, a backward pass, a step of training.

A multiplication with an addition is two. Only products of matrices are counted, as in the literature (Kaplan et al.
2020, arXiv 2001.08361; Korthikanti et al. 2022, arXiv 2205.05198): norms, activations and rotations are some thousandth
of them. Knows no device and no time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from puna.planner.anatomy import Anatomy, Attention, Matrix

Recompute = Literal["none", "selective", "full"]


@dataclass(frozen=True, slots=True)
class LayerFlops:
    """Of one layer."""

    matrices: int  # products with weights
    attention: int  # products of queries, keys and values

    @property
    def total(self) -> int:
        """Both."""
        return self.matrices + self.attention


@dataclass(frozen=True, slots=True)
class Forward:
    """Of a forward pass."""

    layers: tuple[LayerFlops, ...]
    outside: int  # matrices before and after the layers, the head aside
    head: int  # logits

    @property
    def attention(self) -> int:
        """Attention of all layers."""
        return sum(layer.attention for layer in self.layers)

    @property
    def matrices(self) -> int:
        """Products with weights, the head aside."""
        return self.outside + sum(layer.matrices for layer in self.layers)

    @property
    def body(self) -> int:
        """All but the head."""
        return self.matrices + self.attention

    @property
    def total(self) -> int:
        """All."""
        return self.body + self.head


def of_matrix(matrix: Matrix) -> int:
    """Of one token's product with a matrix: 2 for each weight that it meets."""
    return 2 * matrix.active


def tokens_of(anatomy: Anatomy, matrix: Matrix, tokens: int, outputs: int) -> int:
    """How many of the tokens are multiplied with a matrix: after the last layer's attention those of which logits are
    wanted, as no other's states are needed any more; an encoder's are all wanted."""
    return outputs if anatomy.causal and matrix.layer == anatomy.layers - 1 and matrix.follows_attention else tokens


def activations(anatomy: Anatomy, tokens: int, outputs: int) -> int:
    """Numbers that so many tokens take into products with weights and out of them: what is beside the products grows
    with these (norms, quantising, rotations, gates)."""
    return sum(
        tokens_of(anatomy, matrix, tokens, outputs) * (matrix.rows + matrix.columns) * matrix.used
        for matrix in anatomy.matrices
    )


def forward(
    anatomy: Anatomy, tokens: int, *, start: int = 0, outputs: int | None = None, dense: bool = False
) -> Forward:
    """A forward pass of `tokens` consecutive tokens, the first of them at position `start`.

    Args:
        outputs: for how many of them logits are computed; None: for all, as training does.
        dense: scores that the mask hides are computed too, as frameworks do that mask afterwards.
    """
    per_layer = [0] * anatomy.layers
    outside = 0
    wanted = tokens if outputs is None else outputs
    for matrix in anatomy.matrices:
        flops = tokens_of(anatomy, matrix, tokens, wanted) * of_matrix(matrix)
        if matrix.layer is None:
            outside += flops
        else:
            per_layer[matrix.layer] += flops
    head = of_matrix(anatomy.head) if anatomy.head else 0
    return Forward(
        tuple(
            LayerFlops(matrices, _attention(attention, tokens, start, dense or not anatomy.causal))
            for matrices, attention in zip(per_layer, anatomy.attention, strict=True)
        ),
        outside,
        head * wanted,
    )


def _attention(attention: Attention | None, tokens: int, start: int, dense: bool) -> int:
    """q k and the sum of values: 2 (key + value) for each head and each pair of positions."""
    if attention is None:
        return 0
    pairs = tokens * (start + tokens) if dense else visible(tokens, start, attention.window)
    return 2 * attention.heads * (attention.key + attention.value) * pairs


def visible(tokens: int, start: int, window: int | None) -> int:
    """Pairs of positions that causal attention computes: the sum of min(position + 1, window)."""
    end = start + tokens
    if window is None or window >= end:
        return _triangle(end) - _triangle(start)
    growing = max(0, min(end, window) - start)  # tokens that see all before them
    return _triangle(start + growing) - _triangle(start) + (tokens - growing) * window


def _triangle(count: int) -> int:
    return count * (count + 1) // 2


@dataclass(frozen=True, slots=True)
class Training:
    """Of a step of training, or of all its tokens."""

    forward: int
    backward: int
    recomputed: int  # of the forward pass, done again while going back

    @property
    def total(self) -> int:
        """All."""
        return self.forward + self.backward + self.recomputed

    @property
    def factor(self) -> float:
        """How many times the forward pass it is."""
        return self.total / self.forward

    def times(self, count: int) -> Training:
        """So many steps."""
        return Training(self.forward * count, self.backward * count, self.recomputed * count)


def training(
    anatomy: Anatomy, sequence: int, *, recompute: Recompute = "none", lora_rank: int | None = None, dense: bool = False
) -> Training:
    """Training on one sequence of so many tokens.

    A product's gradients are two products of its size, one for its input and one for its weights: backward is twice
    forward. Full recomputation does the layers once more, without the head (4 times the layers, 3 times the head:
    Narayanan et al. 2021, arXiv 2104.04473); selective recomputation the attention alone (Korthikanti et al. 2022).
    With LoRA (arXiv 2106.09685) the frozen matrices need no gradient of their weights, and each has a small pair beside
    it that does.
    """
    once = forward(anatomy, sequence, dense=dense)
    layers = sum(layer.total for layer in once.layers)
    again = {"none": 0, "selective": once.attention, "full": layers}[recompute]
    if lora_rank is None:
        return Training(once.total, 2 * once.total, again)
    beside = 2 * sequence * lora_parameters(anatomy, lora_rank)
    frozen = once.matrices + once.head
    again += beside if recompute == "full" else 0
    return Training(once.total + beside, frozen + 2 * once.attention + 2 * beside, again)


def lora_parameters(anatomy: Anatomy, rank: int) -> int:
    """Weights of a pair of matrices beside each matrix of the layers."""
    return sum(
        rank * (matrix.rows + matrix.columns) * matrix.copies for matrix in anatomy.matrices if matrix.layer is not None
    )
