"""Heads put together from two parts, as latent attention needs them. Knows nothing of what the parts are."""

from __future__ import annotations

from puna.kernels.kernel import Address, Int, Live, kernel_of
from puna.simd import get_i64, load_f32, store_f32


@kernel_of("routing")
def join_heads(
    thread: int, threads: int, first: Address, slots: Address, second: Address, out: Address, heads: Int,
    first_width: Int, second_width: Int, second_heads: Int, rows: Live,
) -> None:  # fmt: skip
    """out[t, h] = first[slots[t, h]], then second[t, h], or second[t, 0] where second has one head for all.

    Widths are multiples of 16; slots int64 (rows, heads); all rows lie without gaps.
    """
    width = first_width + second_width
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        for head in range(heads):
            i = row * heads + head
            source, target = first + get_i64(slots + i * 8) * first_width * 4, out + i * width * 4
            for d in range(0, first_width * 4, 64):
                store_f32(target + d, load_f32(source + d))
            source = second + (row * second_heads + head % second_heads) * second_width * 4
            for d in range(0, second_width * 4, 64):
                store_f32(target + first_width * 4 + d, load_f32(source + d))
