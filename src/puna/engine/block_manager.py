"""BlockManager: which KV block belongs to whom. A pool of block numbers, reference counts and free lists.

A block that holds a known piece of text (its key) stays findable when its last holder lets go, until its place
is needed: the least recently used goes first. Works on block tables (lists of block numbers); knows nothing of
requests, scheduling or what a key stands for. Paged KV and sharing by reference: "Efficient Memory Management
for Large Language Model Serving with PagedAttention", arXiv:2309.06180.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable

from puna.engine.prefix_hash import BlockKey


class BlockManager:
    """`num_blocks` blocks of `block_size` tokens each."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._ref_counts = [0] * num_blocks
        self._blank = list(reversed(range(num_blocks)))  # a stack: reused blocks are warm, untouched ones cost no RAM
        self._cached: OrderedDict[int, None] = OrderedDict()  # free blocks with a key, the least recently used first
        self._keys: dict[int, BlockKey] = {}
        self._blocks: dict[BlockKey, int] = {}  # the inverse

    @property
    def num_free(self) -> int:
        """Blocks nobody holds."""
        return len(self._blank) + len(self._cached)

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold `num_tokens` tokens."""
        return -(-num_tokens // self.block_size)

    def missing(self, block_table: list[int], num_tokens: int) -> int:
        """Blocks to be added to `block_table` before it holds `num_tokens` tokens."""
        return max(0, self.blocks_for(num_tokens) - len(block_table))

    def can_allocate(self, num_blocks: int) -> bool:
        """Whether so many blocks are free."""
        return num_blocks <= self.num_free

    def allocate(self, block_table: list[int], num_tokens: int) -> None:
        """Append free blocks to `block_table` until it holds `num_tokens` tokens. The caller has checked."""
        missing = self.missing(block_table, num_tokens)
        assert self.can_allocate(missing), f"{missing} blocks asked for, {self.num_free} free"
        for _ in range(missing):
            block = self._blank.pop() if self._blank else self._evict()
            self._ref_counts[block] = 1
            block_table.append(block)

    def free(self, block_table: list[int]) -> None:
        """Give back a table's blocks, the last first, and empty it.

        A block is free when its last holder lets go. The last first: of a text that is not used, its end is
        evicted before its beginning, without which the end could not be found.
        """
        while block_table:
            block = block_table.pop()
            assert self._ref_counts[block] > 0, f"block {block} freed twice"
            self._ref_counts[block] -= 1
            if self._ref_counts[block] == 0:
                self._lay_down(block)

    def find(self, key: BlockKey) -> int | None:
        """The block with that key, held or free."""
        return self._blocks.get(key)

    def is_held(self, block: int) -> bool:
        """Whether anybody holds the block."""
        return self._ref_counts[block] > 0

    def is_own(self, block: int) -> bool:
        """Whether the block has one holder and no key: only then may it be written to."""
        return self._ref_counts[block] == 1 and block not in self._keys

    def share(self, block_table: list[int], block: int) -> None:
        """Append a block that `find` gave: it has one holder more."""
        self._cached.pop(block, None)
        self._ref_counts[block] += 1
        block_table.append(block)

    def register(self, block: int, key: BlockKey) -> None:
        """From now on the block, which is held and full, is found by `key` and not written to.

        If another block has that key already, this one stays without: one of them is enough.
        """
        assert self.is_held(block), f"block {block} is nobody's"
        assert block not in self._keys, f"block {block} has a key already"
        if key not in self._blocks:
            self._keys[block] = key
            self._blocks[key] = block

    def check(self, block_tables: Iterable[list[int]]) -> None:
        """Raise AssertionError unless the books balance, given the tables of all holders."""
        held = Counter(block for table in block_tables for block in table)
        counted = {block: count for block, count in enumerate(self._ref_counts) if count}
        assert dict(held) == counted, f"tables hold {dict(held)}, reference counts say {counted}"
        free = {*self._blank, *self._cached}
        assert len(free) == self.num_free, "a block is twice in the free lists"
        assert free == set(range(self.num_blocks)) - set(held), "a block is neither free nor held, or both"
        assert self._blocks == {key: block for block, key in self._keys.items()}, "a key without its block"
        assert len(self._blocks) == len(self._keys), "two blocks have one key"
        assert self._cached.keys() == self._keys.keys() - held.keys(), "a free block with a key is not to be found"

    def _lay_down(self, block: int) -> None:
        if block in self._keys:
            self._cached[block] = None
        else:
            self._blank.append(block)

    def _evict(self) -> int:
        """The free block that was used least recently, its key forgotten."""
        block, _ = self._cached.popitem(last=False)
        del self._blocks[self._keys.pop(block)]
        return block
