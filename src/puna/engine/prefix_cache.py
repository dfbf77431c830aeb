"""PrefixCache: what of a prompt was computed before, in the KV pool or on disk; and the receipt that says so.

Full blocks are found by the key of all tokens up to their end (`puna.engine.prefix_hash`), whoever computed them:
an earlier turn of the chat, another chat with the same system prompt, the sequence itself before it was
preempted. The values of a token are the same bits however they were computed, so a cached prefix changes no
answer. Decides nothing about who runs.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Set
from dataclasses import dataclass
from itertools import takewhile

from puna.engine import prefix_hash
from puna.engine.block_manager import BlockManager
from puna.engine.model import Model
from puna.engine.prefix_hash import BlockKey
from puna.engine.prefix_history import History
from puna.engine.prefix_store import CorruptBlock, PrefixStore
from puna.engine.sequence import Sequence
from puna.engine.types import CacheReceipt
from puna.models import Chunk

FETCH_BYTES = 64 << 20  # read from disk for a sequence in one step: a few hundredths of a second
SAVE_BYTES = 8 << 20  # copied for the store in one step: a few thousandths
CORRUPT = "corrupt block on disk: recomputed"


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """A block that the store is to have, if it is still there when its turn comes."""

    key: BlockKey
    used: int  # nanoseconds since 1970, less for later blocks: of a prefix, the end goes before the beginning


class PrefixCache:
    """Gives sequences what is cached, takes what they compute. `store` is the part on disk, if there is one."""

    def __init__(self, block_manager: BlockManager, model: Model, store: PrefixStore | None = None) -> None:
        self.store = store
        self._block_manager = block_manager
        self._model = model
        self._histories: defaultdict[BlockKey, History] = defaultdict(History)  # of each adapter
        self._unsaved: deque[_Unsaved] = deque()

    @property
    def has_unsaved(self) -> bool:
        """Whether `save` has something to do."""
        return bool(self._unsaved)

    def blocks_to_take(self, sequence: Sequence) -> int:
        """Free blocks that `attach`, and allocating the rest, would take: all but those others hold."""
        shared = sum(self._block_manager.is_held(block) for block in self._cached_blocks(sequence))
        return self._block_manager.blocks_for(len(sequence)) - shared

    def keys_within(self, sequence: Sequence, chunk: Chunk) -> list[BlockKey]:
        """The keys of the blocks that become full when the chunk of a sequence's prompt is computed."""
        size = self._block_manager.block_size
        return sequence.block_keys[chunk.start // size : (chunk.start + len(chunk.tokens)) // size]

    def tokens_coming(self, sequence: Sequence, coming: Set[BlockKey]) -> int:
        """How many more tokens of a waiting sequence would be cached, if the blocks of these keys were."""
        missing = sequence.block_keys[len(self._cached_blocks(sequence)) : self._reusable_blocks(sequence)]
        return self._block_manager.block_size * sum(1 for _ in takewhile(coming.__contains__, missing))

    def attach(self, sequence: Sequence) -> None:
        """Begin the sequence's block table with the longest prefix of it that is in the pool.

        At least one token is left to be computed: there must be logits.
        """
        assert not sequence.block_table, "it is attached already"
        for block in self._cached_blocks(sequence):
            self._block_manager.share(sequence.block_table, block)
        sequence.num_registered = len(sequence.block_table)
        sequence.num_computed = sequence.num_registered * self._block_manager.block_size
        sequence.fetching = self.store is not None and sequence.num_registered < self._reusable_blocks(sequence)
        if not sequence.fetching:
            self._receipt(sequence)

    def fetch(self, sequence: Sequence) -> None:
        """Go on with what is on disk, FETCH_BYTES of it, into the blocks that the sequence has been given."""
        assert self.store is not None
        for _ in range(max(1, FETCH_BYTES // self._model.kv_block_bytes)):
            index = sequence.num_registered
            if index == self._reusable_blocks(sequence):
                self._receipt(sequence)
                return
            try:
                data = self.store.get(sequence.block_keys[index])
            except CorruptBlock:
                self._receipt(sequence, CORRUPT)
                return
            if data is None:
                self._receipt(sequence)
                return
            self._model.write_kv_block(sequence.block_table[index], data)
            self._block_manager.register(sequence.block_table[index], sequence.block_keys[index])
            sequence.num_registered += 1
            sequence.num_fetched += 1
            sequence.num_computed += self._block_manager.block_size

    def record(self, sequence: Sequence) -> None:
        """Make the blocks findable that have become full. After a step; tokens computed in vain do not count.

        Those of a text that becomes a vector are not: it is seen once, and would drive chats out.
        """
        if sequence.pooler is not None:
            return
        full = min(sequence.num_computed, len(sequence)) // self._block_manager.block_size
        self._extend_keys(sequence, full)
        for index in range(sequence.num_registered, full):
            self._block_manager.register(sequence.block_table[index], sequence.block_keys[index])
        sequence.num_registered = full

    def leave(self, sequence: Sequence) -> None:
        """The sequence ends: remember it, and have its blocks saved. Before they are freed.

        What runs in the background (titles, tags) is asked once and never again: it is not worth the disk.
        """
        if sequence.pooler is not None:
            return
        self.record(sequence)
        if sequence.num_computed:
            self._histories[sequence.key_root].add(sequence.distinct_ids()[: sequence.num_computed])
        if self.store is not None and not sequence.in_background:
            now = time.time_ns()
            keys = sequence.block_keys[: sequence.num_registered]
            self._unsaved.extend(_Unsaved(key, now - 1000 * index) for index, key in enumerate(keys))

    def save(self, *, wait: bool) -> None:
        """Hand SAVE_BYTES of unsaved blocks to the store.

        wait: nothing else is to be done, so wait a little where the store is busy.
        """
        self.set_busy(not wait)
        for _ in range(max(1, SAVE_BYTES // self._model.kv_block_bytes)):
            if not self._unsaved or self.store is None or not self.store.has_room(wait=wait):
                return
            unsaved = self._unsaved.popleft()
            block = self._block_manager.find(unsaved.key)
            if self.store.has(unsaved.key):
                self.store.touch(unsaved.key, unsaved.used)
            elif block is not None:  # else evicted in the meantime
                self.store.put(unsaved.key, unsaved.used, self._model.read_kv_block(block))

    def set_busy(self, busy: bool) -> None:
        """Whether something is being computed, beside which the store should not work much."""
        if self.store is not None:
            self.store.set_busy(busy)

    def close(self, seconds: float) -> None:
        """Save what is unsaved, for so long at most, and close the store."""
        deadline = time.monotonic() + seconds
        while self._unsaved and time.monotonic() < deadline:
            self.save(wait=True)
        if self.store is not None:
            self.store.close(max(0.0, deadline - time.monotonic()))

    def check(self, running: Iterable[Sequence]) -> None:
        """Raise AssertionError if a block that will be written to is shared or could be found."""
        for sequence in running:
            full = sequence.num_computed // self._block_manager.block_size
            if sequence.pooler is None:
                assert sequence.num_registered == full, f"{sequence.num_registered} of {full} full blocks are recorded"
            for block in sequence.block_table[full:]:
                assert self._block_manager.is_own(block), f"block {block} is shared, and will be written to"

    def _cached_blocks(self, sequence: Sequence) -> list[int]:
        """The blocks of the longest reusable prefix in the pool."""
        reusable = self._reusable_blocks(sequence)
        self._extend_keys(sequence, reusable)
        blocks: list[int] = []
        for key in sequence.block_keys[:reusable]:
            block = self._block_manager.find(key)
            if block is None:
                break
            blocks.append(block)
        return blocks

    def _reusable_blocks(self, sequence: Sequence) -> int:
        """Full blocks of tokens that need not be computed."""
        return sequence.num_skippable // self._block_manager.block_size

    def _extend_keys(self, sequence: Sequence, num_blocks: int) -> None:
        size, root = self._block_manager.block_size, sequence.key_root
        images = [picture.key for picture in sequence.pictures]
        prefix_hash.extend(sequence.block_keys, sequence.token_ids, size, num_blocks, images, root=root)

    def _receipt(self, sequence: Sequence, trouble: str = "") -> None:
        """All that is cached has been given. Only the first admission is told: later ones are its own tokens."""
        sequence.fetching = False
        if sequence.cache is None:
            size = self._block_manager.block_size
            cached = sequence.num_registered * size
            sequence.cache = CacheReceipt(
                cached_tokens=cached,
                disk_tokens=sequence.num_fetched * size,
                reason=trouble or self._reason(sequence, cached),
                warnings=self.store.take_warnings() if self.store is not None else (),
            )

    def _reason(self, sequence: Sequence, cached: int) -> str:
        """Why the token after the first `cached` ones must be computed; empty if their block is not full."""
        size = self._block_manager.block_size
        if cached == self._reusable_blocks(sequence) * size:
            return ""
        earlier = self._histories[sequence.key_root].nearest(sequence.distinct_ids()[:-1])
        if earlier.length // size * size > cached:
            return f"evicted from token {cached} on"
        if earlier.length < cached or not earlier.length:  # what is on disk may be of another process
            return f"nothing cached from token {cached} on" if cached else "nothing cached"
        if earlier.differs:
            return f"differs at token {earlier.length} from what is cached"
        return f"new from token {earlier.length} on"
