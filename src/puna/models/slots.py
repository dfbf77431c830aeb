"""Rows put together by part, each part to be multiplied by a matrix of its own: by expert, or by attention head.

A row has several slots, one for each of its parts; slots lie in the order of the parts. A linear map of an activation
that has slots for rows takes a stack of matrices. Knows no architecture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from puna.kernels.routing_kinds import SOFTMAX
from puna.models.forward import Activation, Forward, Rows
from puna.models.memory import padded
from puna.models.weights import Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Slots of `each` to a row, as the kernel `arrange` fills them in while a tape runs."""

    rows: Rows  # the slots themselves
    each: int
    sources: NDArray[np.int64]  # of each slot the row
    places: NDArray[np.int64]  # of each row's parts the slot
    weights: NDArray[np.float32] | None = None  # of each row's parts, in the same order


@dataclass(frozen=True, slots=True)
class Router:
    """How experts are chosen by their logits and weighed: see the kernel `route`."""

    experts: int
    used: int
    gating: int = SOFTMAX
    normalise: bool = False
    scale: float = 1.0
    groups: int = 1
    groups_used: int = 1
    best_of_group: int = 1


def route(forward: Forward, logits: Activation, router: Router, bias: NDArray[np.float32] | None) -> Slots:
    """The slots of the experts that each row takes, with their weights. bias: what is added to choose by."""
    rows, used = logits.rows, router.used
    chosen = forward.buffer("chosen", rows.capacity, used, np.int64)
    weights = forward.buffer("expert_weights", rows.capacity, padded(used))
    none = forward.buffer("no_expert_bias", 1, padded(router.experts))
    forward.changed(logits)
    forward.tape.record(
        "route",
        {
            "logits": logits.data, "bias": none if bias is None else bias,
            "scores": forward.buffer("scores", rows.capacity, 2 * padded(router.experts)), "chosen": chosen,
            "weights": weights, "experts": router.experts, "used": used, "gating": router.gating,
            "groups": router.groups, "groups_used": router.groups_used, "best_of_group": router.best_of_group,
            "normalise": int(router.normalise), "scale": router.scale, "rows": rows.count,
        },
    )  # fmt: skip
    return _arranged(forward, "experts", rows, chosen, router.experts, sharing=used, weights=weights)


def by_head(forward: Forward, heads: int) -> Slots:
    """A slot for each head of each of the step's tokens: rows of activations are its heads, one after another."""
    tokens = forward.step.tokens
    chosen = forward.buffer("heads", tokens.capacity, heads, np.int64)
    chosen[:] = np.arange(heads)
    return _arranged(forward, "heads", tokens, chosen, heads, sharing=1)


def _by_adapter(forward: Forward, rows: Rows, parts: int) -> Slots:
    """One slot for each row: of the adapter that it has chosen."""
    known = forward.by_adapter.get(rows)
    if known is None:
        step = forward.step
        chosen = step.adapters if rows is step.tokens else step.kept_adapters
        ones = forward.buffer("ones", rows.capacity, padded(1))
        ones[:] = 1
        name = f"adapters_{len(forward.by_adapter)}"
        known = _arranged(forward, name, rows, chosen[: rows.capacity, None], parts, sharing=1, weights=ones)
        forward.by_adapter[rows] = known
    return known


def add_low_rank(forward: Forward, x: Activation, matrix: Matrix, to: Activation) -> None:
    """to += B A x of the adapter that each row has chosen, if there are adapters of this matrix."""
    if matrix.low_rank is None:
        return
    first, then = matrix.low_rank
    slots = _by_adapter(forward, x.rows, first.parts)
    narrow = forward.linear(to_slots(forward, x, slots, "adapter_in"), first, "adapter_low")
    combine(forward, forward.linear(narrow, then, "adapter_out"), slots, to)


def _arranged(
    forward: Forward, name: str, rows: Rows, chosen: NDArray[np.int64], parts: int, *, sharing: int,
    weights: NDArray[np.float32] | None = None,
) -> Slots:  # fmt: skip
    each = chosen.shape[1]
    capacity = rows.capacity * each
    sources = forward.buffer(f"{name}_sources", 1, capacity, np.int64)
    places = forward.buffer(f"{name}_places", 1, capacity, np.int64)
    bounds = forward.buffer(f"{name}_bounds", 1, parts + 1, np.int64)[0]
    forward.tape.record(
        "arrange",
        {
            "chosen": chosen, "bounds": bounds, "sources": sources, "slots": places, "parts": parts, "used": each,
            "sharing": sharing, "rows": rows.count,
        },
    )  # fmt: skip
    return Slots(Rows(bounds, capacity), each, sources, places, weights)


def to_slots(forward: Forward, x: Activation, slots: Slots, name: str = "in_slots") -> Activation:
    """Each slot's row, or, where there is a slot for each head, its head."""
    width = x.width // slots.each if slots.weights is None else x.width
    out = forward.activation(name, width, slots.rows)
    _gather(forward, x, slots.sources, out)
    return out


def from_heads(forward: Forward, y: Activation, slots: Slots, name: str) -> Activation:
    """The rows whose heads the slots are."""
    rows = forward.step.tokens
    out = forward.activation(name, y.width * slots.each, rows)
    _gather(forward, y, slots.places, Activation(out.data, y.width, slots.rows))
    forward.changed(out)
    return out


def _gather(forward: Forward, x: Activation, indices: NDArray[np.int64], out: Activation) -> None:
    forward.changed(out)
    forward.tape.record(
        "gather_rows",
        {
            "x": x.data, "indices": indices, "out": out.data, "width": padded(out.width), "rows": out.rows.count,
        },
    )  # fmt: skip


def combine(forward: Forward, y: Activation, slots: Slots, to: Activation) -> None:
    """to += the weighted sum of each row's slots."""
    assert slots.weights is not None
    forward.changed(to)
    forward.tape.record(
        "combine",
        {
            "y": y.data, "slots": slots.places, "weights": slots.weights, "out": to.data, "used": slots.each,
            "width": padded(to.width), "rows": to.rows.count,
        },
    )  # fmt: skip


def add_part_bias(forward: Forward, x: Activation, bias: NDArray[np.float32]) -> None:
    """x += the bias of each slot's part; bias: float32 (parts, padded width)."""
    forward.changed(x)
    forward.tape.record(
        "add_part_bias",
        {"x": x.data, "bias": bias, "width": padded(x.width), "bounds": x.rows.bounds, "parts": x.rows.parts},
    )


def gate_by_sigmoid(forward: Forward, x: Activation, h: Activation, weight: NDArray[np.float32]) -> Activation:
    """x times the sigmoid of weight h, row by row, in place."""
    forward.changed(x)
    forward.tape.record(
        "gate_by_sigmoid",
        {
            "x": x.data, "h": h.data, "weight": weight, "width": padded(x.width), "h_width": padded(h.width),
            "rows": x.rows.count,
        },
    )  # fmt: skip
    return x


def join_heads(
    forward: Forward, first: Activation, second: Activation, size: int, heads: int, name: str,
    slots: Slots | None = None,
) -> Activation:  # fmt: skip
    """Heads of two parts: the first as it lies in slots or in rows, the second, of `size`, of each head or for all."""
    rows = forward.step.tokens
    if slots is None:
        width, places = first.width // heads, forward.buffer("in_place", 1, rows.capacity * heads, np.int64)
        places[0] = np.arange(rows.capacity * heads)
    else:
        width, places = first.width, slots.places
    out = forward.activation(name, heads * (width + size), rows)
    forward.changed(out)
    forward.tape.record(
        "join_heads",
        {
            "first": first.data, "slots": places, "second": second.data, "out": out.data, "heads": heads,
            "first_width": width, "second_width": size, "second_heads": second.width // size, "rows": rows.count,
        },
    )  # fmt: skip
    return out
