"""Texts to vectors: a request's texts as tokens, cut to the context where that is allowed, and what comes of them.

Knows nothing of pooling (the engine's) and of loading (the pool's).
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.engine import EmbeddingEvent, EmbeddingRequest, ErrorEvent, Event
from puna.errors import ContextOverflow, InvalidRequest, PunaError, UnsupportedModel
from puna.runtime.text import TextModel
from puna.runtime.types import EmbedRequest

Submit: TypeAlias = Callable[[EmbeddingRequest, Callable[[Event], None]], None]
Vectors: TypeAlias = NDArray[np.float32]  # (texts, width)

WINDOW = 64  # texts of one request that the engine knows of at once


@dataclass(frozen=True, slots=True)
class Inputs:
    """A request's texts as the model will see them."""

    token_ids: tuple[tuple[int, ...], ...]
    truncated: tuple[int, ...]  # indices of those that were cut


def encode(request: EmbedRequest, model: TextModel, context: int) -> Inputs:
    """Token ids of each text, with the tokens that the model wants before and after it, `context` of them at most.

    Special tokens written in a text count, as in Ollama: some models' users end a text with one.

    Raises:
        ContextOverflow: a text is longer, and may not be cut.
        UnsupportedModel: the model ranks.
        InvalidRequest: a text without tokens, a token id or a number of dimensions that the model does not have.
    """
    if model.config.pooling == "rank":
        raise UnsupportedModel(f'"{request.model}" ranks texts (/v1/rerank); it makes no embeddings')
    width = model.config.embedding_length
    if request.dimensions is not None and not 1 <= request.dimensions <= width:
        raise InvalidRequest(f"dimensions is {request.dimensions}; this model's vectors have {width}: give 1 to that")
    cut: list[tuple[int, ...]] = []
    truncated: list[int] = []
    for index, value in enumerate(request.inputs):
        ids, suffix = _tokens(index, value, model)
        if len(ids) > context:
            if not request.truncate:
                raise ContextOverflow(
                    f"the input length exceeds the context length: input {index} has {len(ids)} tokens, "
                    f"this model takes {context}; shorten it, or let it be truncated"
                )
            truncated.append(index)
            ids = (*ids[: context - len(suffix)], *suffix)
        cut.append(ids)
    return Inputs(tuple(cut), tuple(truncated))


def _tokens(index: int, value: str | tuple[int, ...], model: TextModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The input's token ids, and those of them that its end must keep."""
    tokenizer = model.tokenizer
    if isinstance(value, str):
        ids, suffix = tuple(tokenizer.encode(value, parse_special=True)), tokenizer.suffix
    else:
        ids, suffix = value, ()
    if not ids:
        raise InvalidRequest(f"input {index} has no tokens: this model makes a vector of a text only")
    for token in ids:
        if not 0 <= token < tokenizer.vocab_size:
            raise InvalidRequest(
                f"input {index} holds the token id {token}; this model's are 0 to {tokenizer.vocab_size - 1}"
            )
    return ids, suffix


def shorten(vectors: Vectors, dimensions: int | None) -> Vectors:
    """The first so many numbers of each vector, as unit vectors (Matryoshka embeddings, arXiv:2205.13147)."""
    if dimensions is None or dimensions == vectors.shape[1]:
        return vectors
    cut = vectors[:, :dimensions].astype(np.float64)
    norms = np.linalg.norm(cut, axis=1, keepdims=True)
    units: Vectors = (cut / np.maximum(norms, np.finfo(np.float64).tiny)).astype(np.float32)
    return units


class EmbeddingJob:
    """The texts of one request on an engine, WINDOW of them at a time. `cancel` may be called from any thread."""

    def __init__(
        self, requests: Sequence[EmbeddingRequest], *, submit: Submit, cancel: Callable[[str], None],
        work: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        """submit, cancel: the engine's; events may come from any thread, or where nobody else does, from `work`."""
        self._requests = requests
        self._submit, self._cancel, self._work = submit, cancel, work
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self.begun = False

    def vectors(self, width: int) -> Vectors:
        """Wait for all of them: float32 (texts, width). What is still open is cancelled when one fails.

        Raises:
            PunaError: what went wrong with the first that failed, or that the request was cancelled.
            RunnerDied: the engine's process has ended; before it took anything, if not `begun`.
        """
        result = np.empty((len(self._requests), width), np.float32)
        waiting = deque(enumerate(self._requests))
        open_: dict[str, int] = {}
        try:
            while waiting or open_:
                while waiting and len(open_) < WINDOW:
                    index, request = waiting.popleft()
                    self._submit(request, self._events.put)
                    self.begun = True
                    open_[request.id] = index
                event = self._next()
                index = open_.pop(event.id)
                result[index] = _vector(event)
        finally:
            for request_id in open_:
                self._cancel(request_id)
        return result

    def cancel(self) -> None:
        """End it within a step: `vectors` raises. Does nothing when it has ended."""
        self._events.put(None)

    def _next(self) -> Event:
        while self._work is not None and self._events.empty():
            self._work()
        event = self._events.get()
        if event is None:
            raise PunaError("the request was cancelled")
        return event


def _vector(event: Event) -> Vectors:
    match event:
        case EmbeddingEvent(_, vector):
            return np.frombuffer(vector, "<f4").astype(np.float32, copy=False)
        case ErrorEvent():
            raise event.exception()
    raise PunaError("the request was cancelled")
