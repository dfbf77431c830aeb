"""The pool of KV blocks: nothing leaks, nothing is given to two, and check() notices when it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from puna.engine.block_manager import BlockManager


@settings(deadline=None)
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


def keys(count: int, name: str = "") -> list[bytes]:
    return [f"{name}{i}".encode() for i in range(count)]


def filled(manager: BlockManager, table_keys: list[bytes]) -> list[int]:
    """A table of full blocks with these keys, computed and given back."""
    table: list[int] = []
    manager.allocate(table, len(table_keys) * manager.block_size)
    for block, key in zip(table, table_keys, strict=True):
        manager.register(block, key)
    blocks = list(table)
    manager.free(table)
    return blocks


def test_a_freed_block_is_found_by_its_key_and_shared_not_copied() -> None:
    manager = BlockManager(4, block_size=2)
    (first, second) = filled(manager, keys(2))
    assert manager.num_free == 4
    assert [manager.find(key) for key in keys(2)] == [first, second]
    one: list[int] = []
    other: list[int] = []
    for table in (one, other):
        manager.share(table, first)
    assert manager.num_free == 3
    manager.check([one, other])
    manager.free(one)
    assert manager.is_held(first)
    manager.free(other)
    assert not manager.is_held(first)
    assert manager.find(keys(1)[0]) == first


def test_blocks_without_a_key_are_taken_before_cached_ones() -> None:
    manager = BlockManager(4, block_size=1)
    filled(manager, keys(2))
    table: list[int] = []
    manager.allocate(table, 2)
    assert all(manager.find(key) is not None for key in keys(2)), "evicted although there was room"
    manager.allocate(table, 3)
    assert [key for key in keys(2) if manager.find(key) is None] == keys(2)[1:]


def test_the_end_of_the_prefix_used_least_recently_is_evicted_first() -> None:
    manager = BlockManager(6, block_size=1)
    old, new = keys(3, "old"), keys(3, "new")
    filled(manager, old)
    filled(manager, new)
    table: list[int] = []
    for key in old:  # used again: now it is the newer one
        block = manager.find(key)
        assert block is not None
        manager.share(table, block)
    manager.free(table)
    gone: list[bytes] = []
    for count in range(1, 7):
        manager.allocate(table, count)
        gone += [key for key in old + new if manager.find(key) is None and key not in gone]
    assert gone == new[::-1] + old[::-1]


def test_the_second_block_of_one_key_stays_without() -> None:
    manager = BlockManager(2, block_size=1)
    one: list[int] = []
    other: list[int] = []
    manager.allocate(one, 1)
    manager.allocate(other, 1)
    manager.register(one[0], b"key")
    manager.register(other[0], b"key")
    manager.check([one, other])
    assert manager.find(b"key") == one[0]
    assert manager.is_own(other[0])
    assert not manager.is_own(one[0]), "it can be found, so nobody may write to it"


class PrefixMachine(RuleBasedStateMachine):
    """Sequences that come, share, grow and go; a model of what each block holds shows when two disagree."""

    @initialize(num_blocks=st.integers(1, 8))
    def build(self, num_blocks: int) -> None:
        self.manager = BlockManager(num_blocks, block_size=1)
        self.tables: list[list[int]] = []
        self.texts: list[bytes] = []
        self.holds: dict[int, bytes] = {}  # block -> the text up to its end, as it was last written

    @rule(text=st.text("ab", min_size=1, max_size=6))
    def enter(self, text: str) -> None:
        """Share what is cached of the text, compute the rest."""
        whole = text.encode()
        prefixes = [whole[: end + 1] for end in range(len(whole))]
        table: list[int] = []
        shared = []
        for prefix in prefixes:
            block = self.manager.find(prefix)
            if block is None:
                break
            assert self.holds[block] == prefix, "a block that holds something else was found"
            shared.append(block)
        free = sum(not self.manager.is_held(block) for block in shared)
        if not self.manager.can_allocate(len(whole) - len(shared) + free):
            return
        for block in shared:
            self.manager.share(table, block)
        self.manager.allocate(table, len(whole))
        for block, prefix in list(zip(table, prefixes, strict=True))[len(shared) :]:
            assert self.manager.is_own(block), "a shared block would be written to"
            self.holds[block] = prefix
            self.manager.register(block, prefix)
        self.tables.append(table)
        self.texts.append(whole)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.tables:
            index = data.draw(st.integers(0, len(self.tables) - 1))
            self.manager.free(self.tables.pop(index))
            self.texts.pop(index)

    @invariant()
    def nobody_lost_what_it_computed(self) -> None:
        if hasattr(self, "manager"):
            self.manager.check(self.tables)
            for table, text in zip(self.tables, self.texts, strict=True):
                assert [self.holds[block] for block in table] == [text[: i + 1] for i in range(len(table))]


PrefixMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPrefixMachine = PrefixMachine.TestCase
