"""BlockManager: which KV block belongs to whom. A pool of block numbers, reference counts and a free list.

Works on block tables (lists of block numbers); knows nothing of requests, scheduling or what a block holds.
Paged KV: "Efficient Memory Management for Large Language Model Serving with PagedAttention",
arXiv:2309.06180.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class BlockManager:
    """`num_blocks` blocks of `block_size` tokens each."""

    def __init__(self, num_blocks: int, block_size: int) -> None:
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._ref_counts = [0] * num_blocks
        self._free = list(reversed(range(num_blocks)))  # a stack: reused blocks are warm, untouched ones cost no RAM

    @property
    def num_free(self) -> int:
        """Blocks nobody holds."""
        return len(self._free)

    def blocks_for(self, num_tokens: int) -> int:
        """Blocks that hold `num_tokens` tokens."""
        return -(-num_tokens // self.block_size)

    def missing(self, block_table: list[int], num_tokens: int) -> int:
        """Blocks to be added to `block_table` before it holds `num_tokens` tokens."""
        return max(0, self.blocks_for(num_tokens) - len(block_table))

    def can_allocate(self, num_blocks: int) -> bool:
        """Whether so many blocks are free."""
        return num_blocks <= len(self._free)

    def allocate(self, block_table: list[int], num_tokens: int) -> None:
        """Append free blocks to `block_table` until it holds `num_tokens` tokens. The caller has checked."""
        missing = self.missing(block_table, num_tokens)
        assert self.can_allocate(missing), f"{missing} blocks asked for, {self.num_free} free"
        for _ in range(missing):
            block = self._free.pop()
            self._ref_counts[block] = 1
            block_table.append(block)

    def free(self, block_table: list[int]) -> None:
        """Give back a table's blocks, the last first, and empty it.

        A block is free when its last holder lets go.
        """
        while block_table:
            block = block_table.pop()
            assert self._ref_counts[block] > 0, f"block {block} freed twice"
            self._ref_counts[block] -= 1
            if self._ref_counts[block] == 0:
                self._free.append(block)

    def check(self, block_tables: Iterable[list[int]]) -> None:
        """Raise AssertionError unless the books balance, given the tables of all holders."""
        held = Counter(block for table in block_tables for block in table)
        counted = {block: count for block, count in enumerate(self._ref_counts) if count}
        assert dict(held) == counted, f"tables hold {dict(held)}, reference counts say {counted}"
        free = set(self._free)
        assert len(free) == len(self._free), "a block is twice in the free list"
        assert free == set(range(self.num_blocks)) - set(held), "a block is neither free nor held, or both"
