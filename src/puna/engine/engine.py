"""Engine: one model, many sequences. `step()` is the whole machine: schedule, forward, sample, postprocess.

In-process and single-threaded; the runner wraps it in a process. Knows token ids only: no text, no stop
strings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Seq
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.engine.block_manager import BlockManager
from puna.engine.draft_model import DraftModel
from puna.engine.grammar import Constraint, GrammarCompiler, Masks
from puna.engine.image_reader import ImageReader
from puna.engine.logprobs import token_logprobs
from puna.engine.model import ImageEncoder, Model
from puna.engine.pooling import Pooler
from puna.engine.prefix_cache import PrefixCache
from puna.engine.prefix_store import PrefixStore
from puna.engine.scheduler import Batch, Scheduler
from puna.engine.sequence import Sequence, SequenceStatus
from puna.engine.speculation import MAX_ROWS, MIN_DRAFT
from puna.engine.types import (
    EmbeddingEvent,
    EmbeddingRequest,
    ErrorEvent,
    Event,
    FinishedEvent,
    GenerationRequest,
    TokenEvent,
    TokenLogprobs,
)
from puna.errors import ContextOverflow, InvalidRequest, PunaError, UnsupportedModel
from puna.models import BLOCK_SIZE, Chunk
from puna.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Pick:
    """A token that was drawn."""

    token: int
    logprobs: TokenLogprobs | None


# For each chunk its new tokens, perhaps with why there is no next one; none where the prompt goes on.
Sampled: TypeAlias = list[list[Pick | PunaError]]


class Engine:
    """Runs requests on `model`, up to `max_sequences` at once, each of at most `context` tokens."""

    def __init__(
        self,
        model: Model,
        *,
        context: int,
        max_sequences: int,
        prefix_store: PrefixStore | None = None,
        tokenizer: Callable[[], Tokenizer] | None = None,
        draft: DraftModel | None = None,
        encoder: ImageEncoder | None = None,
        check: bool = False,
    ) -> None:
        """The store is the engine's from now on: `close` closes it. A grammar needs the model's `tokenizer`.
        A `draft` model of the same vocabulary (`check_vocabularies`) proposes tokens where the text itself does not.
        Without an `encoder` prompts have no images.

        Raises InvalidRequest if the model was loaded with too few KV blocks or outputs for that.
        """
        if context < 1 or context > model.num_blocks * BLOCK_SIZE:
            room = model.num_blocks * BLOCK_SIZE
            raise InvalidRequest(f"a context of {context} tokens: it must be between 1 and the KV cache's {room}")
        most = min(model.max_outputs, model.max_tokens) if model.causal else model.max_tokens
        if not 1 <= max_sequences <= most:
            raise InvalidRequest(f"{max_sequences} sequences at once: this model was loaded for 1 to {most}")
        self.model = model
        self.context = context
        self.block_manager = BlockManager(model.num_blocks, BLOCK_SIZE)
        self.prefix_cache = PrefixCache(self.block_manager, model, prefix_store)
        self.scheduler = Scheduler(
            self.block_manager,
            self.prefix_cache,
            max_tokens=model.max_tokens,
            max_sequences=max_sequences,
            whole_prompts=not model.causal,
        )
        self._grammars = None if tokenizer is None else GrammarCompiler(tokenizer, model.vocab_size)
        self._draft = draft
        self._images = ImageReader(encoder)
        self._spare_outputs = model.max_outputs - max_sequences  # for proposed tokens
        self._sequences: dict[str, Sequence] = {}  # the open ones
        self._check = check  # the scheduler's books after each step
        self._events: list[Event] = []  # to be given out by the next step

    @property
    def has_work(self) -> bool:
        """Whether `step` would do or say anything."""
        return self.scheduler.has_work or bool(self._events) or self.prefix_cache.has_unsaved

    def add(self, request: GenerationRequest | EmbeddingRequest) -> None:
        """Queue a request. One that cannot be run is answered by an ErrorEvent from the next step.

        Raises InvalidRequest when a request of that id is open: an event could not say whose it is.
        """
        if request.id in self._sequences:
            raise InvalidRequest(f"a request with the id {request.id!r} is still open")
        try:
            sequence = self._sequence(request)
        except PunaError as error:
            self._events.append(_error_event(request.id, error))
            return
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
        self.prefix_cache.save(wait=not self.scheduler.has_work and not events)
        self._propose()
        self._images.read(self.scheduler.awaited_pictures())
        started = time.perf_counter()
        batch = self.scheduler.schedule(started)
        if batch:
            masks = _masks(batch)  # computed while the model computes
            logits = self.model.forward([chunk for _, chunk in batch])
            sampled = self._sample(batch, logits, masks)
            self._pool(batch)
            events += self._postprocess(batch, sampled)
            self.scheduler.learn(batch, time.perf_counter() - started)
        self.prefix_cache.set_busy(self.scheduler.has_work)
        if self._check:
            self.scheduler.check()
        return events

    def close(self, seconds: float) -> None:
        """Save what the prefix cache has not saved yet, for so long at most. The model is the caller's."""
        self.prefix_cache.close(seconds)
        if self._grammars is not None:
            self._grammars.close()

    def logits(self, token_ids: Seq[int], *, adapter: str = "") -> NDArray[np.float32]:
        """Logits (n, vocab_size) after each of the n tokens, computed beside whatever else is running.

        Raises InvalidRequest for ids outside the vocabulary, more tokens than the context, or too few free
        blocks, an adapter that is not loaded.
        """
        n = len(token_ids)
        number = self._adapter(adapter)
        self._require_logits()
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
                chunk = Chunk(tokens, start, block_table, len(tokens), adapter=number)
                rows[start : start + size] = self.model.forward([chunk])
        finally:
            self.block_manager.free(block_table)
        return rows

    def _sequence(self, request: GenerationRequest | EmbeddingRequest) -> Sequence:
        """Raises what is wrong with the request."""
        now = time.perf_counter()
        if isinstance(request, GenerationRequest):
            self._require_logits()
            self._images.check(request)
            sequence = Sequence(request, self._max_length(request), now, self._constraint(request))
        else:
            prompt = request.as_prompt()
            pooler = Pooler(self.model.pooling, len(prompt.prompt), causal=self.model.causal)
            sequence = Sequence(prompt, self._max_length(prompt), now, pooler=pooler, second=request.second)
        sequence.adapter = self._adapter(request.adapter)
        sequence.key_root = self.model.adapters.get(request.adapter, b"")
        return sequence

    def _adapter(self, name: str) -> int:
        """The number of the adapter of that name. Raises InvalidRequest if it is not loaded."""
        names = ["", *self.model.adapters]
        if name not in names:
            there = ", ".join(names[1:]) or "none"
            raise InvalidRequest(f"the adapter {name!r:.200} is not loaded; those that are: {there}")
        return names.index(name)

    def _require_logits(self) -> None:
        if not self.model.causal:
            raise UnsupportedModel("this model sees whole texts: it makes embeddings, and does not write")

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

    def _constraint(self, request: GenerationRequest) -> Constraint | None:
        """Raises InvalidRequest for a grammar that is none."""
        if request.grammar is None:
            return None
        if self._grammars is None:
            raise InvalidRequest("this engine has no tokenizer, so it can hold an answer to no grammar")
        return self._grammars.compile(request.grammar)

    def _propose(self) -> None:
        """Let the sequences that decode guess what comes next, as far as a step of more rows costs little."""
        decoding = [s for s in self.scheduler.running if s.num_uncomputed == 1 and s.pooler is None]
        rows = min(MAX_ROWS - len(decoding), self._spare_outputs)
        share = rows // len(decoding) if rows >= MIN_DRAFT * len(decoding) > 0 else 0
        wanted: list[tuple[Sequence, int]] = []
        for sequence in decoding:
            room = max(0, min(share, sequence.max_length - len(sequence) - 1))
            sequence.propose(room)
            if self._draft is not None and not sequence.draft and (count := sequence.model_room(room)):
                wanted.append((sequence, count))
        if self._draft is not None and wanted:
            drafts = self._draft.propose([(s.id, s.token_ids, count) for s, count in wanted])
            for (sequence, _), draft in zip(wanted, drafts, strict=True):
                sequence.draft, sequence.draft_pace = draft, sequence.model_pace
        for sequence in decoding:
            if sequence.constraint is not None:
                sequence.draft = _allowed(sequence, sequence.constraint)

    def _sample(self, batch: Batch, logits: NDArray[np.float32], masks: list[Future[Masks] | None]) -> Sampled:
        """New tokens for each chunk that has reached the end of its sequence."""
        sampled: Sampled = []
        start = 0
        for (sequence, chunk), mask in zip(batch, masks, strict=True):
            sampled.append(_picks(sequence, logits[start : start + chunk.outputs], mask))
            start += chunk.outputs
        return sampled

    def _pool(self, batch: Batch) -> None:
        """Give the states of texts that become vectors to their poolers."""
        start = 0
        for sequence, chunk in batch:
            if sequence.pooler is not None and chunk.states:
                sequence.pooler.take(self.model.states()[start : start + len(chunk.states)])
            start += len(chunk.states)

    def _postprocess(self, batch: Batch, sampled: Sampled) -> list[Event]:
        """Write down what was computed, end what has ended."""
        now = time.perf_counter()
        events: list[Event] = []
        for (sequence, chunk), picks in zip(batch, sampled, strict=True):
            rejected = max(0, chunk.outputs - len(picks))  # proposed in vain: what comes there is computed over it
            sequence.num_computed += len(chunk.tokens) - rejected
            accepted = max(0, len(picks) - 1)
            self.scheduler.charge_accepted(sequence, accepted)
            sequence.learn(accepted)
            if sequence.pooler is not None and not sequence.num_uncomputed:
                events.append(self._embedded(sequence, sequence.pooler))
                continue
            for pick in picks:
                events += self._extend(sequence, pick, now)
                if sequence.status is SequenceStatus.FINISHED:
                    break
            else:
                self.prefix_cache.record(sequence)
        return events

    def _embedded(self, sequence: Sequence, pooler: Pooler) -> Event:
        self._release(sequence)
        try:
            return EmbeddingEvent(sequence.id, pooler.vector().astype("<f4").tobytes())
        except PunaError as error:
            return _error_event(sequence.id, error)

    def _extend(self, sequence: Sequence, pick: Pick | PunaError, now: float) -> list[Event]:
        if isinstance(pick, PunaError):
            self._release(sequence)
            return [_error_event(sequence.id, pick)]
        length = len(sequence)
        reason = sequence.append(pick.token, now)
        events: list[Event] = [TokenEvent(sequence.id, pick.token, pick.logprobs)] if len(sequence) > length else []
        if reason is not None:
            self._release(sequence)
            events.append(FinishedEvent(sequence.id, reason, sequence.usage(now)))
        return events

    def _release(self, sequence: Sequence) -> None:
        """Forget the sequence and free its blocks."""
        self.scheduler.finish(sequence)
        del self._sequences[sequence.id]
        if self._draft is not None:
            self._draft.forget(sequence.id)


def _allowed(sequence: Sequence, constraint: Constraint) -> list[int]:
    """What was proposed, as far as the grammar lets it come and it does not end the answer."""
    allowed = sequence.draft[: constraint.allowed(sequence.draft)]
    ends = [i for i, token in enumerate(allowed) if token in sequence.request.stop_ids]
    return allowed[: ends[0]] if ends else allowed


def _masks(batch: Batch) -> list[Future[Masks] | None]:
    """For each chunk with outputs what its grammar allows, if it has one."""
    return [s.constraint.masks(s.draft) if s.constraint and chunk.outputs else None for s, chunk in batch]


def _picks(sequence: Sequence, rows: NDArray[np.float32], masks: Future[Masks] | None) -> list[Pick | PunaError]:
    """The token drawn from the first row, and from each further one while the token before it was proposed."""
    picks: list[Pick | PunaError] = []
    token_ids, asked = sequence.token_ids, sequence.request.logprobs
    for i, (row, proposed) in enumerate(zip(rows, [*sequence.draft, None], strict=False)):
        try:
            token = sequence.sampler.sample(row, token_ids, None if masks is None else masks.result()[i])
        except PunaError as error:
            picks.append(error)
            break
        picks.append(Pick(token, None if asked is None else token_logprobs(row, token, asked)))
        if token != proposed:
            break
        token_ids = [*token_ids, token]
    return picks


def _error_event(request_id: str, error: PunaError) -> ErrorEvent:
    return ErrorEvent(request_id, str(error), type(error).__name__)
