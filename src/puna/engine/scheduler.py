"""Scheduler: which tokens of which sequences go into the next step.

Continuous batching (Orca, OSDI 2022) with chunked prefill (Sarathi-Serve, arXiv:2403.02310): one row for each
sequence that decodes, and rows for prompts, as many as running answers can wait for: a long prompt never stalls
one for more than a short step. Knows blocks and token counts, no tensors; what a token is, it does not ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from puna.engine.block_manager import BlockManager
from puna.engine.chunk_size import ChunkSize
from puna.engine.fairness import BackgroundShare, FairShare
from puna.engine.prefix_cache import PrefixCache
from puna.engine.sequence import Picture, Sequence, SequenceStatus
from puna.models import Chunk

Batch: TypeAlias = list[tuple[Sequence, Chunk]]  # what one step computes


Rank: TypeAlias = tuple[int, float, float]  # in the background (1) or not; what its client has had; arrival

STALL_SECONDS = 0.25  # a step with a piece of a prompt takes about so long while answers are being written, ...
BACKGROUND_SECONDS = 0.05  # ... or so long, if the prompt is in the background and they are not


class Scheduler:
    """Sequences wait and run in order of rank; where blocks are short, the last in rank gives way.

    What is in the background comes after what is not, but for a small share of the prompts' rows. Among the rest, the
    client that was served least comes first, and of his requests the earliest.

    whole_prompts: each is computed in one step, in which it fits: the model sees whole texts.
    """

    def __init__(
        self, block_manager: BlockManager, prefix_cache: PrefixCache, *, max_tokens: int, max_sequences: int,
        whole_prompts: bool = False,
    ) -> None:  # fmt: skip
        self.block_manager = block_manager
        self.prefix_cache = prefix_cache
        self.max_tokens = max_tokens
        self.max_sequences = max_sequences
        self._whole_prompts = whole_prompts
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._shares = FairShare()
        self._background = BackgroundShare()
        self._background_first = False  # in this step, for one piece of a prompt
        self._chunk_size = ChunkSize()

    def __iter__(self) -> Iterator[Sequence]:
        """All open sequences."""
        yield from self.running
        yield from self.waiting

    @property
    def has_work(self) -> bool:
        """Whether any sequence is open."""
        return bool(self.running or self.waiting)

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence, which must fit the pool when it is alone: then none can wait for ever."""
        self.waiting.append(sequence)
        self._shares.enter(sequence.request.client)
        self._background.enter(sequence.in_background)

    def schedule(self, now: float) -> Batch:
        """The next step's chunks: decoding sequences, then prompts, begun or not. Empty = nothing to do."""
        self._make_room_for_decodes()
        self._background_first = self._background.due and self._background_can_go_on()
        self._make_room_for_waiting()
        ready = sorted(self.running, key=self._rank)
        batch: Batch = []
        budget = self.max_tokens
        for sequence in ready:
            if sequence.num_uncomputed == 1:
                budget -= self._take(sequence, budget, batch)
        self._take_prompts([s for s in ready if s.num_uncomputed > 1], budget, batch, now)
        return batch

    def learn(self, batch: Batch, seconds: float) -> None:
        """A step of this batch took so long."""
        if any(_in_prompt(chunk) for _, chunk in batch):
            self._chunk_size.learn(sum(len(chunk.tokens) for _, chunk in batch), seconds)

    def finish(self, sequence: Sequence) -> None:
        """Take a sequence out, wherever it is, and give its blocks back."""
        (self.running if sequence.status is SequenceStatus.RUNNING else self.waiting).remove(sequence)
        sequence.status = SequenceStatus.FINISHED
        self._shares.leave(sequence.request.client)
        self._background.leave(sequence.in_background)
        self.prefix_cache.leave(sequence)
        self.block_manager.free(sequence.block_table)

    def charge_accepted(self, sequence: Sequence, count: int) -> None:
        """So many tokens that were proposed were right: a row each, as of a prompt."""
        self._pay(sequence, count)
        sequence.num_charged += count

    def check(self) -> None:
        """Raise AssertionError unless every invariant holds."""
        self.block_manager.check(s.block_table for s in self)
        self.prefix_cache.check(self.running)
        self._check_order()
        assert self._generating() <= self.max_sequences
        assert all(s.status is SequenceStatus.RUNNING for s in self.running)
        assert all(s.status is SequenceStatus.WAITING and not s.block_table for s in self.waiting)
        assert all(s.num_uncomputed >= 1 for s in self), "a sequence has nothing left to compute"
        assert all(len(s.block_table) * self.block_manager.block_size >= s.num_computed for s in self.running)

    def _check_order(self) -> None:
        """Within the requests of one client in one lane, nobody was overtaken."""
        youngest: dict[tuple[str, bool], float] = {}
        for sequence in self.running:
            lane = sequence.request.client, sequence.in_background
            youngest[lane] = max(sequence.arrived, youngest.get(lane, sequence.arrived))
        for sequence in self.waiting:
            lane = sequence.request.client, sequence.in_background
            assert sequence.arrived >= youngest.get(lane, sequence.arrived), "somebody was overtaken"

    def awaited_pictures(self) -> list[Picture]:
        """The images without which running sequences cannot go on; the first in rank first."""
        waiting = sorted((s for s in self.running if not s.fetching and s.num_ready == 0), key=self._rank)
        return [picture for s in waiting if (picture := s.awaited_picture) is not None]

    def _rank(self, sequence: Sequence) -> Rank:
        """Who comes first: the lower rank. Within the requests of one client in one lane, the earlier."""
        return sequence.in_background, self._shares.served(sequence.request.client), sequence.arrived

    def _turn(self, sequence: Sequence) -> Rank:
        """Whose turn among the prompts is next: the lower one's."""
        lane, served, arrived = self._rank(sequence)
        return -1 if lane and self._background_first else lane, served, arrived

    def _next_waiting(self) -> Sequence | None:
        return min(self.waiting, key=self._turn, default=None)

    def _background_can_go_on(self) -> bool:
        """Whether there is a prompt in the background that need not wait for blocks or a seat."""
        if any(s.in_background and s.num_uncomputed > 1 for s in self.running):
            return True
        waiting = min((s for s in self.waiting if s.in_background), key=self._rank, default=None)
        return waiting is not None and self._fits(waiting)

    def _make_room_for_decodes(self) -> None:
        """Give each running sequence the block its next token needs, the first in rank first.

        Preempt the last in rank if need be.
        """
        for sequence in sorted(self.running, key=self._rank):
            while sequence.status is SequenceStatus.RUNNING:
                missing = self.block_manager.missing(sequence.block_table, len(sequence))
                if self.block_manager.can_allocate(missing):
                    self.block_manager.allocate(sequence.block_table, len(sequence))
                    break
                self._preempt(max(self.running, key=self._rank))

    def _make_room_for_waiting(self) -> None:
        """Preempt what runs in the background for the next newcomer that does not."""
        newcomer = self._next_waiting()
        if newcomer is None or newcomer.in_background or self._background_first:
            return
        while not self._fits(newcomer):
            giving_way = [s for s in self.running if s.in_background and (self._seats(newcomer) or s.pooler is None)]
            if not giving_way:
                return
            self._preempt(max(giving_way, key=self._rank))

    def _take_prompts(self, begun: list[Sequence], budget: int, batch: Batch, now: float) -> None:
        """Divide the rows among prompts by rank. Nobody overtakes a newcomer that does not fit: it would starve."""
        taken = 0
        while begun or self.waiting:
            newcomer = self._next_waiting()
            if newcomer is not None and not (self._fits(newcomer) and self._pays(newcomer, batch)):
                newcomer = None
            candidates = begun + ([newcomer] if newcomer else [])
            if not candidates:
                return
            sequence = min(candidates, key=self._turn)
            rows = min(budget, self._prompt_rows(sequence, batch)) - taken
            if self._whole_prompts:
                rows = 0 if taken and rows < sequence.num_uncomputed else budget - taken
            if rows <= 0:
                return
            if sequence is newcomer:
                self._admit(sequence, now)
            else:
                begun.remove(sequence)
            taken += self._take(sequence, rows, batch)
            if sequence.in_background:
                self._background_first = False

    def _prompt_rows(self, sequence: Sequence, batch: Batch) -> int:
        """Rows that prompts may have in this step, when it is this one's turn."""
        beside_others = self._background_first or any(not other.in_background for other, _ in batch)
        if sequence.in_background and beside_others:
            return self._chunk_size.rows(BACKGROUND_SECONDS)
        if any(other.in_background <= sequence.in_background and not _in_prompt(chunk) for other, chunk in batch):
            return self._chunk_size.rows(STALL_SECONDS)
        return self.max_tokens

    def _preempt(self, sequence: Sequence) -> None:
        """Take its blocks.

        It waits again, before all of its client that came later. Its KV will be computed again from its tokens,
        unless the prefix cache still has it.
        """
        self.running.remove(sequence)
        self.waiting.append(sequence)
        sequence.status = SequenceStatus.WAITING
        sequence.num_computed = 0
        sequence.draft = []
        self.block_manager.free(sequence.block_table)

    def _fits(self, sequence: Sequence) -> bool:
        """Whether a waiting sequence may start."""
        if not self._seats(sequence):
            return False
        needed = self.prefix_cache.blocks_to_take(sequence)
        # A block to spare for each running sequence that may grow: else the newcomer is soon preempted again.
        spare = sum(self.block_manager.missing(s.block_table, s.max_length) > 0 for s in self.running)
        return self.block_manager.can_allocate(needed + spare)

    def _seats(self, newcomer: Sequence) -> bool:
        """Whether it may run beside the others, who have as many rows of logits as there are: a vector needs none."""
        return newcomer.pooler is not None or self._generating() < self.max_sequences

    def _generating(self) -> int:
        return sum(sequence.pooler is None for sequence in self.running)

    def _pays(self, newcomer: Sequence, batch: Batch) -> bool:
        """Whether it should begin in this step: not if another computes half of it or more, to be had in the next."""
        kept = [(sequence, chunk) for sequence, chunk in batch if sequence.pooler is None]
        coming = {key for sequence, chunk in kept for key in self.prefix_cache.keys_within(sequence, chunk)}
        return 2 * self.prefix_cache.tokens_coming(newcomer, coming) < len(newcomer)

    def _admit(self, sequence: Sequence, now: float) -> None:
        self.waiting.remove(sequence)
        self.running.append(sequence)
        sequence.status = SequenceStatus.RUNNING
        if sequence.admitted is None:
            sequence.admitted = now
        self.prefix_cache.attach(sequence)
        self.block_manager.allocate(sequence.block_table, len(sequence))

    def _take(self, sequence: Sequence, budget: int, batch: Batch) -> int:
        """Put as many of its uncomputed tokens into the batch as fit into `budget` rows; the rows it took."""
        if sequence.fetching:
            self.prefix_cache.fetch(sequence)
        if sequence.fetching:
            return 0  # its turn comes when the rest is there
        count = min(sequence.num_ready, budget)
        if count:
            start, end = sequence.num_computed, sequence.num_computed + count
            self._charge(sequence, start, end)
            generates = sequence.pooler is None
            outputs = int(generates and end == len(sequence))  # only after its last token is there something to sample
            tokens = sequence.token_ids[start:end]
            if outputs:
                self._cut_draft(sequence, budget - count)
                tokens += sequence.draft
                outputs += len(sequence.draft)
            states = _states(sequence, start, end)
            of_text = sequence.second, sequence.adapter, sequence.image_rows(start, end)
            batch.append((sequence, Chunk(tokens, start, sequence.block_table, outputs, states, *of_text)))
            count = len(tokens)
        return count

    def _charge(self, sequence: Sequence, start: int, end: int) -> None:
        """A token costs 1, the answer's tokens 2: for each of them all weights are read. Each is paid for once."""
        new = max(0, end - max(start, sequence.num_charged))
        answers = sequence.pooler is None and end == len(sequence)
        self._pay(sequence, new + int(new > 0 and answers))
        sequence.num_charged = max(sequence.num_charged, end)

    def _pay(self, sequence: Sequence, cost: float) -> None:
        self._shares.charge(sequence.request.client, cost)
        self._background.charge(sequence.in_background, cost)

    def _cut_draft(self, sequence: Sequence, budget: int) -> None:
        """Cut what is proposed to the rows left and to the blocks that are free: nobody gives way to a guess."""
        del sequence.draft[budget:]
        if sequence.draft:
            length = len(sequence) + len(sequence.draft)
            if self.block_manager.can_allocate(self.block_manager.missing(sequence.block_table, length)):
                self.block_manager.allocate(sequence.block_table, length)
            del sequence.draft[len(sequence.block_table) * self.block_manager.block_size - len(sequence) :]


def _states(sequence: Sequence, start: int, end: int) -> range:
    """Of the tokens from `start` to `end - 1`, counted from `start`, those whose states make the sequence's vector."""
    if sequence.pooler is None:
        return range(0)
    wanted = sequence.pooler.wanted(start, end)
    return range(wanted.start - start, wanted.stop - start)


def _in_prompt(chunk: Chunk) -> bool:
    """Whether it has tokens after which nothing is sampled."""
    return len(chunk.tokens) > chunk.outputs
