"""Engine: one model, many sequences. `step()` is the whole machine: schedule, forward, sample, postprocess.

In-process and single-threaded; the runner wraps it in a process. Knows token ids only: no text, no stop
strings.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Seq
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.engine.block_manager import BlockManager
from puna.engine.model import Model
from puna.engine.scheduler import Batch, Scheduler
from puna.engine.sequence import Sequence
from puna.engine.types import ErrorEvent, Event, FinishedEvent, GenerationRequest, TokenEvent
from puna.errors import ContextOverflow, InvalidLogits, InvalidRequest, PunaError
from puna.models import BLOCK_SIZE, Chunk

# For each chunk its new token, what was wrong with its logits, or None where the prompt goes on.
Sampled: TypeAlias = list[int | InvalidLogits | None]


class Engine:
    """Runs requests on `model`, up to `max_sequences` at once, each of at most `context` tokens."""

    def __init__(self, model: Model, *, context: int, max_sequences: int) -> None:
        """Raises InvalidRequest if the model was loaded with too few KV blocks or outputs for that."""
        if context < 1 or context > model.num_blocks * BLOCK_SIZE:
            room = model.num_blocks * BLOCK_SIZE
            raise InvalidRequest(f"a context of {context} tokens: it must be between 1 and the KV cache's {room}")
        if not 1 <= max_sequences <= min(model.max_outputs, model.max_tokens):
            most = min(model.max_outputs, model.max_tokens)
            raise InvalidRequest(f"{max_sequences} sequences at once: this model was loaded for 1 to {most}")
        self.model = model
        self.context = context
        self.block_manager = BlockManager(model.num_blocks, BLOCK_SIZE)
        self.scheduler = Scheduler(self.block_manager, max_tokens=model.max_tokens, max_sequences=max_sequences)
        self._sequences: dict[str, Sequence] = {}  # the open ones
        self._events: list[Event] = []  # to be given out by the next step

    @property
    def has_work(self) -> bool:
        """Whether `step` would do or say anything."""
        return self.scheduler.has_work or bool(self._events)

    def add(self, request: GenerationRequest) -> None:
        """Queue a request. One that cannot be run is answered by an ErrorEvent from the next step.

        Raises InvalidRequest when a request of that id is open: an event could not say whose it is.
        """
        if request.id in self._sequences:
            raise InvalidRequest(f"a request with the id {request.id!r} is still open")
        try:
            max_length = self._max_length(request)
        except InvalidRequest as error:
            self._events.append(_error_event(request.id, error))
            return
        sequence = Sequence(request, max_length, time.perf_counter())
        self._sequences[request.id] = sequence
        self.scheduler.add(sequence)

    def cancel(self, request_id: str) -> None:
        """End a request; the next step says so.

        No such request: it has just ended by itself, and nothing happens.
        """
        if sequence := self._sequences.get(request_id):
            self._release(sequence)
            self._events.append(FinishedEvent(request_id, "cancelled", sequence.usage(time.perf_counter())))

    def step(self) -> list[Event]:
        """One forward pass over what the scheduler picked, and the events it brings."""
        events, self._events = self._events, []
        batch = self.scheduler.schedule(time.perf_counter())
        if batch:
            logits = self.model.forward([chunk for _, chunk in batch])
            sampled = self._sample(batch, logits)
            events += self._postprocess(batch, sampled)
        return events

    def logits(self, token_ids: Seq[int]) -> NDArray[np.float32]:
        """Logits (n, vocab_size) after each of the n tokens, computed beside whatever else is running.

        Raises InvalidRequest for ids outside the vocabulary, more tokens than the context, or too few free
        blocks.
        """
        n = len(token_ids)
        self._max_length(GenerationRequest("logits", tuple(token_ids), max_tokens=0))
        if not self.block_manager.can_allocate(self.block_manager.blocks_for(n)):
            raise InvalidRequest(f"no room for {n} tokens beside the sequences that run; try again when they are done")
        rows = np.empty((n, self.model.vocab_size), np.float32)
        size = min(self.model.max_tokens, self.model.max_outputs)
        block_table: list[int] = []
        self.block_manager.allocate(block_table, n)
        try:
            for start in range(0, n, size):
                tokens = token_ids[start : start + size]
                rows[start : start + size] = self.model.forward([Chunk(tokens, start, block_table, len(tokens))])
        finally:
            self.block_manager.free(block_table)
        return rows

    def _max_length(self, request: GenerationRequest) -> int:
        """Tokens at which the request ends for 'length'. Raises InvalidRequest if it cannot be run at all."""
        request.check_vocabulary(self.model.vocab_size)
        length = len(request.prompt)
        max_tokens = self.context if request.max_tokens is None else request.max_tokens
        if length + min(1, max_tokens) > self.context:
            raise ContextOverflow(
                f"the prompt has {length} tokens; with an answer it does not fit the context of "
                f"{self.context}: shorten it, or load the model with a larger context"
            )
        return min(length + max_tokens, self.context)

    def _sample(self, batch: Batch, logits: NDArray[np.float32]) -> Sampled:
        """A new token for each chunk that has reached the end of its sequence."""
        sampled: Sampled = []
        rows = iter(logits)
        for sequence, chunk in batch:
            try:
                sampled.append(sequence.sampler.sample(next(rows), sequence.token_ids) if chunk.outputs else None)
            except InvalidLogits as error:
                sampled.append(error)
        return sampled

    def _postprocess(self, batch: Batch, sampled: Sampled) -> list[Event]:
        """Write down what was computed, end what has ended."""
        now = time.perf_counter()
        events: list[Event] = []
        for (sequence, chunk), token in zip(batch, sampled, strict=True):
            sequence.num_computed += len(chunk.tokens)
            if isinstance(token, InvalidLogits):
                self._release(sequence)
                events.append(_error_event(sequence.id, token))
            elif token is not None:
                events += self._extend(sequence, token, now)
        return events

    def _extend(self, sequence: Sequence, token: int, now: float) -> list[Event]:
        length = len(sequence)
        reason = sequence.append(token, now)
        events: list[Event] = [TokenEvent(sequence.id, token)] if len(sequence) > length else []
        if reason is not None:
            self._release(sequence)
            events.append(FinishedEvent(sequence.id, reason, sequence.usage(now)))
        return events

    def _release(self, sequence: Sequence) -> None:
        """Forget the sequence and free its blocks."""
        self.scheduler.finish(sequence)
        del self._sequences[sequence.id]


def _error_event(request_id: str, error: PunaError) -> ErrorEvent:
    return ErrorEvent(request_id, str(error), type(error).__name__)
