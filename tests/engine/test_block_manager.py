"""The pool of KV blocks: nothing leaks, nothing is given to two, and check() notices when it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.engine.block_manager import BlockManager


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=60))
def test_random_growth_and_release_never_leaks_a_block(actions: list[tuple[int, int]]) -> None:
    manager = BlockManager(10, block_size=4)
    tables: list[list[int]] = [[], [], [], []]
    for index, tokens in actions:
        table = tables[index]
        if manager.can_allocate(manager.missing(table, tokens)) and tokens:
            manager.allocate(table, tokens)
            assert len(table) * 4 >= tokens
        else:
            manager.free(table)
            assert table == []
        manager.check(tables)
    for table in tables:
        manager.free(table)
    assert manager.num_free == 10


def test_a_block_boundary_is_not_off_by_one() -> None:
    manager = BlockManager(3, block_size=4)
    assert [manager.blocks_for(n) for n in (0, 1, 4, 5, 8, 9)] == [0, 1, 1, 2, 2, 3]
    table: list[int] = []
    manager.allocate(table, 4)
    assert manager.missing(table, 4) == 0
    assert manager.missing(table, 5) == 1
    assert manager.can_allocate(2)
    assert not manager.can_allocate(3)


def test_untouched_blocks_stay_untouched_while_there_are_used_ones() -> None:
    manager = BlockManager(100, block_size=1)
    for _ in range(50):
        table: list[int] = []
        manager.allocate(table, 3)
        assert sorted(table) == [0, 1, 2]
        manager.free(table)


def test_allocating_more_than_is_free_is_a_bug_that_is_caught() -> None:
    with pytest.raises(AssertionError, match="5 blocks asked for, 2 free"):
        BlockManager(2, block_size=1).allocate([], 5)


@pytest.mark.parametrize(
    "tables",
    [[], [[0, 1]], [[0], [1], [2]], [[0], [0]]],
    ids=["leaked", "one not held", "held but free", "shared without a reference"],
)
def test_check_notices_books_that_do_not_balance(tables: list[list[int]]) -> None:
    manager = BlockManager(4, block_size=1)
    held: list[int] = []
    manager.allocate(held, 2)
    manager.check([held])
    if tables == [[0, 1]]:
        manager.allocate([], 1)
    with pytest.raises(AssertionError):
        manager.check(tables)


def test_freeing_twice_is_caught() -> None:
    manager = BlockManager(2, block_size=1)
    table: list[int] = []
    manager.allocate(table, 1)
    copy = list(table)
    manager.free(table)
    with pytest.raises(AssertionError, match="freed twice"):
        manager.free(copy)
