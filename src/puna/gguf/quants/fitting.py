"""The search for scales with which a group of numbers, rounded to a few levels, comes nearest to what it was.

For given levels the best scale is a least-squares solution; which levels are best is tried out over scales around
the plain one. Errors count by `importance`: those of large numbers do more harm. Knows no quantised type.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from puna.gguf.quants.bits import Floats, halves, to_halves

_SIGNED_STEPS = np.linspace(-1, 1, 19, dtype=np.float32)
_AFFINE_STEPS = np.linspace(-1, 1, 21, dtype=np.float32)  # added to the level that the largest number gets


def importance(groups: Floats) -> Floats:
    """The weight of each number's squared error: its magnitude, and that of a typical number of its group."""
    typical = np.sqrt(np.square(groups).mean(axis=-1, keepdims=True))
    weights: Floats = typical + np.abs(groups)
    return weights


def divided(numbers: Floats, by: Floats) -> Floats:
    """numbers / by, and 0 where `by` is 0."""
    result: Floats = np.divide(numbers, by, out=np.zeros(np.broadcast_shapes(numbers.shape, by.shape), np.float32),
                               where=by != 0)  # fmt: skip
    return result


def extreme(numbers: Floats) -> Floats:
    """The number of largest magnitude in the last axis, with its sign: (..., 1)."""
    return np.take_along_axis(numbers, np.abs(numbers).argmax(axis=-1, keepdims=True), axis=-1)


def stored_half(values: Floats) -> Floats:
    """The values as they come back from f16."""
    return halves(to_halves(values))


def fit_scale(groups: Floats, lowest: float, reach: float, to_levels: Callable[[Floats], Floats]) -> Floats:
    """Scales (n, k) of groups (n, k, m) such that groups = scale x level, nearly.

    to_levels: numbers in units of the scale to the nearest level there is. Tried are the scales at which the largest
    number would be `lowest`, the level farthest from 0, give or take `reach`.
    """
    weights, unit = importance(groups), divided(groups, extreme(groups))
    best = scale = np.zeros(groups.shape[:-1], np.float32)
    for step in _SIGNED_STEPS:
        levels = to_levels(unit * (np.float32(lowest) + np.float32(reach) * step))
        weighted = weights * levels
        product, power = (weighted * groups).sum(axis=-1), (weighted * levels).sum(axis=-1)
        candidate = divided(product, power)
        gain = candidate * product  # by how much this scale lowers the weighted error
        scale, best = np.where(gain > best, candidate, scale), np.maximum(gain, best)
    return scale


def fit_scale_and_minimum(groups: Floats, highest: int) -> tuple[Floats, Floats]:
    """Scales and minima (n, k), none of them negative: groups = scale x level - minimum, levels 0 to `highest`."""
    weights = importance(groups)
    low = np.minimum(groups.min(axis=-1, keepdims=True), 0)
    span = groups.max(axis=-1, keepdims=True) - low
    unit = divided(groups - low, span)
    scale, minimum = (span / np.float32(highest))[..., 0], -low[..., 0]
    least = _error(groups, np.rint(unit * np.float32(highest)), weights, scale, minimum)
    for step in _AFFINE_STEPS:
        levels = np.rint(unit * (np.float32(highest) + step)).clip(0, highest)
        a, b = _least_squares(groups, levels, weights)
        error = _error(groups, levels, weights, a, b)
        better = error < least
        scale, minimum = np.where(better, a, scale), np.where(better, b, minimum)
        least = np.where(better, error, least)
    return scale, minimum


def _error(x: Floats, q: Floats, w: Floats, a: Floats, b: Floats) -> Floats:
    squares: Floats = (w * np.square(a[..., None] * q - b[..., None] - x)).sum(axis=-1)
    return squares


def _least_squares(x: Floats, q: Floats, w: Floats) -> tuple[Floats, Floats]:
    """a >= 0 and b >= 0 for the least sum of w (a q - b - x)^2."""
    wq, wx = w * q, w * x
    s, sq, sx = w.sum(axis=-1), wq.sum(axis=-1), wx.sum(axis=-1)
    sqq, sxq = (wq * q).sum(axis=-1), (wq * x).sum(axis=-1)
    determinant = s * sqq - sq * sq
    a, b = divided(s * sxq - sx * sq, determinant), divided(sq * sxq - sqq * sx, determinant)
    outside = (b < 0) | (determinant <= 0)
    a, b = np.where(outside, divided(sxq, sqq), a), np.where(outside, np.float32(0), b)
    return np.maximum(a, 0), b
