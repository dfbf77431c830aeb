"""The work list of a download, and how many connections it uses."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from puna.store.transfer.blocks import Blocks
from puna.store.transfer.growth import Growth


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=20), st.integers(1, 9), st.integers())
def test_every_missing_block_is_given_out_once_whatever_comes_back(
    count: int, there: set[int], workers: int, seed: int
) -> None:
    chance = random.Random(seed)
    there = {block for block in there if block < count}
    blocks = Blocks(count, there)
    arrived: list[int] = []
    while (run := blocks.take(chance.randint(0, 8), workers)) is not None:
        start, end = run
        assert start < end
        done = chance.randint(start, end)
        for block in range(start, done):
            arrived.append(block)
            blocks.arrived(block)
        blocks.give_back(max(done, start), end)
        if done == start and chance.random() < 0.5:
            arrived.extend(_all_after(blocks, start))
    assert sorted(arrived) == sorted(set(range(count)) - there)
    assert blocks.missing == 0


def _all_after(blocks: Blocks, block: int) -> list[int]:
    arrived: list[int] = []
    while (run := blocks.take_after(block)) is not None:
        block = run[1]
        for each in range(*run):
            arrived.append(each)
            blocks.arrived(each)
    return arrived


def test_a_block_that_was_lost_is_given_out_again() -> None:
    blocks = Blocks(3, {0, 1, 2})
    assert blocks.take(9, 4) is None
    blocks.lost(1)
    assert (blocks.missing, blocks.wait_for(1, 0), blocks.take(9, 4)) == (1, False, (1, 2))


def test_connections_double_while_that_helps_and_go_back_where_it_does_not() -> None:
    growth = Growth(2, 16)
    counts = []
    for _ in range(12):
        counts.append(growth.count)
        growth.see(10.0 * min(growth.count, 5))  # a link that is full with five
    assert counts[:6] == [2, 2, 4, 8, 4, 4]
    assert set(counts[4:]) == {4}
