"""Scheduler: which tokens of which sequences go into the next step. First come, first served.

Continuous batching (Orca, OSDI 2022) with chunked prefill (Sarathi-Serve, arXiv:2403.02310): one row for each
sequence that decodes, and the rest of the step's rows for prompts, so that a long prompt never stalls a
running answer for more than one step. Knows blocks and token counts, no tensors; what a token is, it does not
ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeAlias

from puna.engine.block_manager import BlockManager
from puna.engine.sequence import Sequence, SequenceStatus
from puna.models import Chunk

Batch: TypeAlias = list[tuple[Sequence, Chunk]]  # what one step computes


class Scheduler:
    """Sequences wait in order of arrival and run while there are blocks; else the youngest gives way."""

    def __init__(self, block_manager: BlockManager, *, max_tokens: int, max_sequences: int) -> None:
        self.block_manager = block_manager
        self.max_tokens = max_tokens
        self.max_sequences = max_sequences
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in order of arrival

    def __iter__(self) -> Iterator[Sequence]:
        """All open sequences, in order of arrival."""
        yield from self.running
        yield from self.waiting

    @property
    def has_work(self) -> bool:
        """Whether any sequence is open."""
        return bool(self.running or self.waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, which must fit the pool when it is alone: then none can wait for ever."""
        self.waiting.append(sequence)

    def schedule(self, now: float) -> Batch:
        """The next step's chunks: decoding sequences, then prompts begun, then newcomers.

        Empty = nothing to do.
        """
        self._make_room_for_decodes()
        ready = [s for s in self.running if s.num_uncomputed == 1]
        ready += [s for s in self.running if s.num_uncomputed > 1]
        batch: Batch = []
        budget = self.max_tokens
        for sequence in ready:
            budget = self._take(sequence, budget, batch)
        while budget and self._can_admit():
            budget = self._take(self._admit(now), budget, batch)
        return batch

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and give its blocks back."""
        (self.running if sequence.status is SequenceStatus.RUNNING else self.waiting).remove(sequence)
        sequence.status = SequenceStatus.FINISHED
        self.block_manager.free(sequence.block_table)

    def check(self) -> None:
        """Raise AssertionError unless every invariant holds."""
        self.block_manager.check(s.block_table for s in self)
        arrivals = [s.arrived for s in self]
        assert arrivals == sorted(arrivals), "somebody was overtaken"
        assert len(self.running) <= self.max_sequences
        assert all(s.status is SequenceStatus.RUNNING for s in self.running)
        assert all(s.status is SequenceStatus.WAITING and not s.block_table for s in self.waiting)
        assert all(s.num_uncomputed >= 1 for s in self), "a sequence has nothing left to compute"
        assert all(len(s.block_table) * self.block_manager.block_size >= s.num_computed for s in self.running)

    def _make_room_for_decodes(self) -> None:
        """Give each running sequence the block its next token needs, oldest first.

        Preempt the youngest if need be.
        """
        for sequence in list(self.running):
            while sequence.status is SequenceStatus.RUNNING:
                missing = self.block_manager.missing(sequence.block_table, len(sequence))
                if self.block_manager.can_allocate(missing):
                    self.block_manager.allocate(sequence.block_table, len(sequence))
                    break
                self._preempt(self.running[-1])

    def _preempt(self, sequence: Sequence) -> None:
        """Take its blocks.

        It goes back to the head of the queue, and its KV will be computed again from its tokens.
        """
        self.running.remove(sequence)
        self.waiting.appendleft(sequence)
        sequence.status = SequenceStatus.WAITING
        sequence.num_computed = 0
        self.block_manager.free(sequence.block_table)

    def _can_admit(self) -> bool:
        """Whether the head of the queue may start. Nobody overtakes it: it would starve."""
        if not self.waiting or len(self.running) >= self.max_sequences:
            return False
        needed = self.block_manager.blocks_for(len(self.waiting[0]))
        # A block to spare for each running sequence that may grow: else the newcomer is soon preempted again.
        spare = sum(self.block_manager.missing(s.block_table, s.max_length) > 0 for s in self.running)
        return self.block_manager.can_allocate(needed + spare)

    def _admit(self, now: float) -> Sequence:
        sequence = self.waiting.popleft()
        self.running.append(sequence)
        sequence.status = SequenceStatus.RUNNING
        if sequence.admitted is None:
            sequence.admitted = now
        self.block_manager.allocate(sequence.block_table, len(sequence))
        return sequence

    def _take(self, sequence: Sequence, budget: int, batch: Batch) -> int:
        """Put as many of its uncomputed tokens into the batch as fit; the rows left after it."""
        count = min(sequence.num_uncomputed, budget)
        if count:
            start, end = sequence.num_computed, sequence.num_computed + count
            outputs = int(end == len(sequence))  # only after its last token is there something to sample
            batch.append((sequence, Chunk(sequence.token_ids[start:end], start, sequence.block_table, outputs)))
        return budget - count
