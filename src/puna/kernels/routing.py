"""Mixtures of experts: which experts a token takes, tokens put together by expert, experts' results added up.

A *part* is an expert (or whatever has a matrix of its own), a *slot* is a row in the order of the parts: each row of
the step has `used` slots. All that concerns a row depends on that row alone, and its experts are added in the order in
which it has chosen them. Knows neither weights nor what the experts compute.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import Address, Float, Int, Live, helper, kernel_of
from puna.kernels.routing_kinds import SIGMOID, SOFTMAX, SOFTMAX_OF_CHOSEN
from puna.simd import (
    exp,
    fma,
    get_f32,
    get_i64,
    keep_below,
    load_f32,
    maximum,
    reduce_add,
    reduce_max,
    set_f32,
    set_i64,
    splat_f32,
    store_f32,
)

f32 = np.float32
MASKED = f32(-1e30)  # the score of an expert whose group is not chosen
TAKEN = f32(-2e30)  # of one that has been chosen


@helper
def _softmax(x, count):
    """The first `count` float32 at x, in place; the rest of the last 16 become 0."""
    top = splat_f32(MASKED)
    for i in range(0, count, 16):
        top = maximum(top, keep_below(load_f32(x + i * 4), count - i, MASKED))
    shift, total = splat_f32(reduce_max(top)), splat_f32(f32(0))
    for i in range(0, count, 16):
        p = exp(keep_below(load_f32(x + i * 4), count - i, MASKED) - shift)
        store_f32(x + i * 4, p)
        total = total + p
    whole = splat_f32(reduce_add(total))
    for i in range(0, count, 16):
        store_f32(x + i * 4, load_f32(x + i * 4) / whole)


@helper
def _sigmoid(x, count):
    """In place."""
    one, zero = splat_f32(f32(1)), splat_f32(f32(0))
    for i in range(0, count, 16):
        store_f32(x + i * 4, one / (one + exp(zero - load_f32(x + i * 4))))


@helper
def _best(scores, first, last):
    """The largest from `first` to `last` - 1, the first of equals; `first` if none is a number."""
    best, top = first, get_f32(scores + first * 4)
    for i in range(first + 1, last):
        score = get_f32(scores + i * 4)
        if score > top:
            best, top = i, score
    return best


@helper
def _keep_best_groups(scores, experts, groups, groups_used, best_of_group, of_groups):
    """Mask all experts but those of the groups whose best `best_of_group` scores add up to most."""
    size = experts // groups
    for g in range(groups):
        first = scores + g * size * 4
        best = _best(first, 0, size)
        total = get_f32(first + best * 4)
        if best_of_group == 2:
            second = MASKED
            for i in range(size):
                if i != best:
                    second = max(second, get_f32(first + i * 4))
            total += second
        set_f32(of_groups + g * 4, total)
    for _ in range(groups_used):
        set_f32(of_groups + _best(of_groups, 0, groups) * 4, TAKEN)
    for g in range(groups):
        if get_f32(of_groups + g * 4) > TAKEN:
            for i in range(g * size, (g + 1) * size):
                set_f32(scores + i * 4, MASKED)


@kernel_of("routing")
def route(
    thread: int, threads: int, logits: Address, bias: Address, scores: Address, chosen: Address, weights: Address,
    experts: Int, used: Int, gating: Int, groups: Int, groups_used: Int, best_of_group: Int, normalise: Int,
    scale: Float, rows: Live,
) -> None:  # fmt: skip
    """The `used` best experts of each row, the best first, and their weights.

    logits: float32, `experts` a row; they become probabilities by their softmax or sigmoid, or (SOFTMAX_OF_CHOSEN)
    stay until those chosen are known, whose softmax are the weights. Chosen is by probability + bias; where there are
    several groups, only in the `groups_used` whose best 1 or 2 experts have most (DeepSeek-AI 2024, 2.1.2 of V3's
    report). Weights are probabilities, divided by their sum if `normalise`, times scale. scores: scratch, twice as
    wide as logits; chosen: int64 (rows, used); all widths are padded to 16.
    """
    stride, weight_stride = (experts + 15) // 16 * 64, (used + 15) // 16 * 64
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        p, s, w = logits + row * stride, scores + row * stride * 2, weights + row * weight_stride
        if gating == SOFTMAX:
            _softmax(p, experts)
        elif gating == SIGMOID:
            _sigmoid(p, experts)
        for i in range(0, stride, 64):
            store_f32(s + i, load_f32(p + i) + load_f32(bias + i))
        if groups > 1:
            _keep_best_groups(s, experts, groups, groups_used, best_of_group, s + stride)
        for j in range(used):
            best = _best(s, 0, experts)
            set_f32(s + best * 4, TAKEN)
            set_i64(chosen + (row * used + j) * 8, best)
            set_f32(w + j * 4, get_f32(p + best * 4))
        if gating == SOFTMAX_OF_CHOSEN:
            _softmax(w, used)
        total = f32(0)
        for j in range(used):
            total += get_f32(w + j * 4)
        factor = scale / total if normalise else scale
        for j in range(used):
            set_f32(w + j * 4, get_f32(w + j * 4) * factor)


@kernel_of("routing")
def arrange(
    thread: int, threads: int, chosen: Address, bounds: Address, sources: Address, slots: Address, parts: Int,
    used: Int, sharing: Int, rows: Live,
) -> None:  # fmt: skip
    """Sort the slots by part, those of a part by row: a counting sort of `chosen`, int64 (rows, used).

    bounds: the first slot of each part, then the number of slots; sources: of each slot the row it comes from, of
    which `sharing` slots share one; slots: of each of a row's choices the slot.
    """
    if thread < threads - 1:  # one does it all: it is little
        return
    for part in range(parts + 1):
        set_i64(bounds + part * 8, 0)
    for i in range(rows * used):
        count = bounds + get_i64(chosen + i * 8) * 8 + 8
        set_i64(count, get_i64(count) + 1)
    for part in range(parts):
        end = bounds + part * 8 + 8
        set_i64(end, get_i64(end) + get_i64(end - 8))
    for i in range(rows * used):  # the beginning of each part moves to its end, ...
        following = bounds + get_i64(chosen + i * 8) * 8
        slot = get_i64(following)
        set_i64(sources + slot * 8, i // sharing)
        set_i64(slots + i * 8, slot)
        set_i64(following, slot + 1)
    for part in range(parts, 0, -1):  # ... which is the beginning of the next
        set_i64(bounds + part * 8, get_i64(bounds + part * 8 - 8))
    set_i64(bounds, 0)


@kernel_of("routing")
def combine(
    thread: int, threads: int, y: Address, slots: Address, weights: Address, out: Address, used: Int, width: Int,
    rows: Live,
) -> None:  # fmt: skip
    """out[t] += the sum over j of weights[t, j] y[slots[t, j]], in the order of j; width float32, a multiple of 16."""
    vectors, weight_stride = width // 16, (used + 15) // 16 * 64
    for i in range(rows * vectors * thread // threads, rows * vectors * (thread + 1) // threads):
        row, at = i // vectors, i % vectors * 64
        total = splat_f32(f32(0))
        for j in range(used):
            source = y + get_i64(slots + (row * used + j) * 8) * width * 4 + at
            total = fma(load_f32(source), splat_f32(get_f32(weights + row * weight_stride + j * 4)), total)
        store_f32(out + i * 64, load_f32(out + i * 64) + total)


@kernel_of("routing")
def add_part_bias(
    thread: int, threads: int, x: Address, bias: Address, width: Int, bounds: Address, parts: Int
) -> None:
    """x[slot] += bias[part of the slot]; width float32 a row, a multiple of 16; bounds as `arrange` leaves them."""
    rows, part = get_i64(bounds + parts * 8), 0
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        while get_i64(bounds + part * 8 + 8) <= row:
            part += 1
        for i in range(0, width * 4, 64):
            at = x + row * width * 4 + i
            store_f32(at, load_f32(at) + load_f32(bias + part * width * 4 + i))


@kernel_of("routing")
def gate_by_sigmoid(
    thread: int, threads: int, x: Address, h: Address, weight: Address, width: Int, h_width: Int, rows: Live
) -> None:
    """x[t] *= 1 / (1 + e**-(weight h[t])): float32 of these widths a row, multiples of 16, padded with zeros."""
    one, zero = splat_f32(f32(1)), splat_f32(f32(0))
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        total = zero
        for i in range(0, h_width * 4, 64):
            total = fma(load_f32(h + row * h_width * 4 + i), load_f32(weight + i), total)
        factor = one / (one + exp(zero - splat_f32(reduce_add(total))))
        for i in range(0, width * 4, 64):
            at = x + row * width * 4 + i
            store_f32(at, load_f32(at) * factor)
