"""The one entrance to running models: requests in, deltas out, models loaded and unloaded as needed."""

from __future__ import annotations

import logging
import queue
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from types import TracebackType
from typing import Self

from puna import hardware, paths
from puna.engine import EmbeddingRequest, OnProgress, Priority, RunnerProcess
from puna.errors import PunaError, RunnerDied
from puna.runtime import prompt as prompts
from puna.runtime import settings
from puna.runtime.admission import Admission
from puna.runtime.embedding import EmbeddingJob, Inputs, Vectors, encode, shorten
from puna.runtime.generation import Generation
from puna.runtime.observing import Observer
from puna.runtime.pool import Loaded, Pool, runner_starter
from puna.runtime.ranking import encode_pairs, probabilities
from puna.runtime.sequence_request import after_thought, answer, grammar_enforced, sequence_request
from puna.runtime.text import TextModel, abilities
from puna.runtime.types import (
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    LoadedStatus,
    Options,
    Prompt,
    Ranking,
    RankRequest,
    Request,
    SinkEvent,
)
from puna.store import LocalModel, ModelName, Store
from puna.store.management import remove

TEXT_MODELS_KEPT = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Computed:
    """What came of a request's texts."""

    vectors: Vectors
    load_seconds: float
    warnings: tuple[str, ...]  # the runner's


class Runtime:
    """Loaded models, their keep-alive timers, and the generations on them. Thread-safe; a context manager.

    Args:
        store: where names are looked up (the default store).
        keep_alive: seconds an idle model stays loaded, FOREVER for no end (PUNA_KEEP_ALIVE, else 300).
        context_length: tokens of context where neither request nor model say (PUNA_CONTEXT_LENGTH, else the
            trained length, at most 8192).
        max_loaded: models kept loaded at once; an idle one makes room (PUNA_MAX_LOADED_MODELS, else 3).
        num_parallel: sequences one model decodes at once, more wait (PUNA_NUM_PARALLEL, else 8).
        threads: threads of a runner (PUNA_THREADS, else the number of physical cores).
        prefix_cache: bytes of disk for prefixes computed earlier, of all models together; 0 for none
            (PUNA_PREFIX_CACHE, else 4 GB).
        check: a runner checks its scheduler's books after each step, and ends if they do not balance; for tests.
        on_progress: called as (what, done, total) while a runner compiles kernels or loads weights, from the
            thread that loads.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        keep_alive: float | None = None,
        context_length: int | None = None,
        max_loaded: int | None = None,
        num_parallel: int | None = None,
        threads: int | None = None,
        prefix_cache: int | None = None,
        check: bool = False,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.store = store or Store()
        self._context_length = context_length or settings.integer(paths.CONTEXT_LENGTH)
        self.num_parallel = num_parallel or settings.integer(paths.NUM_PARALLEL) or settings.DEFAULT_PARALLEL
        threads, kv_type = threads or hardware.threads(), settings.kv_cache_type()
        starter = runner_starter(
            threads=threads,
            num_parallel=self.num_parallel,
            kv_type=kv_type,
            prefix_cache=settings.prefix_cache_bytes() if prefix_cache is None else prefix_cache,
            check=check,
            on_progress=on_progress,
        )
        self._pool = Pool(
            starter,
            max_loaded=max_loaded or settings.integer(paths.MAX_LOADED_MODELS) or settings.DEFAULT_MAX_LOADED,
            keep_alive=settings.default_keep_alive() if keep_alive is None else keep_alive,
            gate=Admission.of(threads, kv_type),
        )
        self._observer = Observer(threads, kv_type)
        self._lock = threading.Lock()
        self._text_models: OrderedDict[tuple[str, str], TextModel] = OrderedDict()  # by name and digest
        self._abilities: dict[str, tuple[str, ...]] = {}  # by digest

    def start(self, request: Request, sink: Callable[[SinkEvent], None]) -> Generation:
        """Begin to generate; blocks only to load the model.

        `sink` is called from another thread, one event at a time: Deltas, then one Finished or one PunaError.
        It must not block.

        Raises:
            ModelNotFound, UnsupportedModel, InvalidGGUF, InvalidTokenizer, TemplateError, ContextOverflow,
            InvalidRequest: before anything runs.
            InsufficientMemory, KernelError, RunnerDied: the model could not be loaded.
        """
        started = time.monotonic()
        model = self.text_model(request.model)
        options = request.options.over(model.defaults)
        context = self._context(model, options)
        prompt = prompts.build(request, model, options, context)
        request_id = uuid.uuid4().hex
        engine_request = sequence_request(request_id, request, prompt, options, model)
        while True:
            loaded = self._acquire(model, context.tokens, request.keep_alive)
            runner = _runner(loaded)
            generation = Generation(
                engine_request,
                replace(prompt, warnings=prompt.warnings + runner.loaded.warnings),
                tokenizer=model.tokenizer,
                answer=answer(request, prompt, options, model),
                grammar_enforced=grammar_enforced(request, options, engine_request),
                sink=sink,
                submit=runner.submit,
                cancel=runner.cancel,
                after_thought=lambda ran, written: after_thought(ran, written, request, prompt, options, model),
                ended=partial(self._ended, loaded),
                started=started,
                load_seconds=time.monotonic() - started,
            )
            try:
                runner.submit(engine_request, generation.on_event)
                return generation
            except RunnerDied:  # between lending and submitting: lend a new one
                self._pool.release(loaded)
            except BaseException:
                self._pool.release(loaded)
                raise

    def _ended(self, loaded: Loaded, last: Finished | None) -> None:
        if self._pool.release(loaded) and last is not None and not last.thought_cut:
            self._observer.note(loaded.local, last.usage)

    def stream(self, request: Request) -> Iterator[Event]:
        """The same for a synchronous caller: yields Deltas, then Finished. An error is raised.

        Closing the iterator cancels.
        """
        events: queue.SimpleQueue[SinkEvent] = queue.SimpleQueue()
        generation = self.start(request, events.put)
        try:
            while True:
                event = events.get()
                if isinstance(event, PunaError):
                    raise event
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            generation.cancel()

    def embed(self, request: EmbedRequest, *, on_start: Callable[[EmbeddingJob], None] = lambda _: None) -> Embeddings:
        """The vectors of texts; blocks until they are there.

        on_start: is given what `cancel` may be called on from another thread; this call then raises.

        Raises:
            ContextOverflow, InvalidRequest, and what `start` raises: before anything runs.
            InvalidLogits, UnsupportedModel, RunnerDied, PunaError: one of the texts has failed.
        """
        started = time.monotonic()
        model = self.text_model(request.model)
        context = self._context(model, Options(context_length=request.context_length).over(model.defaults))
        inputs = encode(request, model, context.tokens)
        made = self._compute(request, model, context, inputs, None, model.config.embedding_length, on_start)
        return Embeddings(
            vectors=shorten(made.vectors, request.dimensions),
            prompt_tokens=tuple(map(len, inputs.token_ids)),
            truncated=inputs.truncated,
            total_seconds=time.monotonic() - started,
            load_seconds=made.load_seconds,
            warnings=model.local.warnings + model.tokenizer.warnings + context.warnings + made.warnings,
        )

    def rank(self, request: RankRequest, *, on_start: Callable[[EmbeddingJob], None] = lambda _: None) -> Ranking:
        """How well each document answers the query; blocks until all are scored. Arguments and errors as `embed`'s."""
        started = time.monotonic()
        model = self.text_model(request.model)
        context = self._context(model, Options(context_length=request.context_length).over(model.defaults))
        inputs, seconds = encode_pairs(request, model, context.tokens)
        made = self._compute(request, model, context, inputs, seconds, model.config.labels, on_start)
        return Ranking(
            scores=probabilities(made.vectors),
            prompt_tokens=tuple(map(len, inputs.token_ids)),
            truncated=inputs.truncated,
            total_seconds=time.monotonic() - started,
            load_seconds=made.load_seconds,
            warnings=model.local.warnings + model.tokenizer.warnings + context.warnings + made.warnings,
        )

    def _compute(
        self, request: EmbedRequest | RankRequest, model: TextModel, context: prompts.ContextLength, inputs: Inputs,
        seconds: tuple[int, ...] | None, width: int, on_start: Callable[[EmbeddingJob], None],
    ) -> _Computed:  # fmt: skip
        """A vector of `width` for each input; `seconds`: where the second texts of pairs begin."""
        started = time.monotonic()
        batch = uuid.uuid4().hex
        priority = request.priority or Priority.NORMAL
        sequences = [
            EmbeddingRequest(f"{batch}-{i}", ids, priority, request.client, second, model.local.adapter)
            for i, (ids, second) in enumerate(zip(inputs.token_ids, seconds or repeat(None), strict=False))
        ]
        while True:
            loaded = self._acquire(model, context.tokens, request.keep_alive)
            load_seconds = time.monotonic() - started
            runner = _runner(loaded)
            job = EmbeddingJob(sequences, submit=runner.submit, cancel=runner.cancel)
            try:
                on_start(job)
                return _Computed(job.vectors(width), load_seconds, runner.loaded.warnings)
            except RunnerDied:
                if job.begun:
                    raise
            finally:
                self._pool.release(loaded)

    def prompt(self, request: Request) -> Prompt:
        """What the model would see, without loading its weights."""
        model = self.text_model(request.model)
        options = request.options.over(model.defaults)
        return prompts.build(request, model, options, self._context(model, options))

    def text_model(self, name: str) -> TextModel:
        """Tokenizer, template and configuration of a model (a name or a path), kept for the next call."""
        local = self.store.resolve(name)
        key = (local.name, local.digest)
        with self._lock:
            if key in self._text_models:
                self._text_models.move_to_end(key)
                return self._text_models[key]
        model = TextModel.open(local)
        with self._lock:
            self._text_models[key] = model
            while len(self._text_models) > TEXT_MODELS_KEPT:
                self._text_models.popitem(last=False)
        return model

    def context_length(self, name: str) -> int:
        """Tokens that a text for this model may have, as its parameters and this runtime say."""
        model = self.text_model(name)
        return self._context(model, model.defaults).tokens

    def models(self) -> list[LocalModel]:
        """Every named model with what it can be asked for, last modified first; a damaged one is left out."""
        return [self._with_abilities(model) for model in self.store.list()]

    def load(self, name: str, *, context_length: int | None = None, keep_alive: float | None = None) -> LocalModel:
        """Load a model if it is not loaded yet, and (re)start its keep-alive timer."""
        model = self.text_model(name)
        options = Options(context_length=context_length).over(model.defaults)
        self._pool.release(self._acquire(model, self._context(model, options).tokens, keep_alive))
        return model.local

    def unload(self, name: str) -> bool:
        """Unload now if idle, else when its open requests have ended. False when it was not loaded."""
        return self._pool.unload(self.store.resolve(name))

    def delete(self, name: str) -> None:
        """Remove a model from the store, and from memory: now if idle, else when its open requests have ended.

        Raises ModelNotFound, InvalidRequest, StoreError.
        """
        parsed = ModelName.parse(name)
        remove(self.store.root, parsed)
        for status in self.ps():
            if not status.model.path.exists() or status.model.name.lower() == str(parsed).lower():
                self._pool.unload(status.model)

    def ps(self) -> list[LoadedStatus]:
        """The loaded models, the one that stays longest first."""
        return self._pool.status()

    def close(self) -> None:
        """End all runners; what runs on them fails."""
        self._pool.close()
        self._observer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _with_abilities(self, model: LocalModel) -> LocalModel:
        """What was found once is kept for as long as this runtime lives."""
        known = self._abilities.get(model.digest)
        if known is None:
            try:
                known = abilities(model)
            except PunaError as error:
                _log.warning("nobody knows what %s can be asked for: %s", model.name, error)
                known = ()
            self._abilities[model.digest] = known
        return replace(model, details=replace(model.details, abilities=known))

    def _context(self, model: TextModel, options: Options) -> prompts.ContextLength:
        return prompts.context_length(options, model.config.context_length, self._context_length)

    def _acquire(self, model: TextModel, context: int, keep_alive: float | None) -> Loaded:
        """Loaded with the default context even for a request that wants less: the next need not reload it."""
        room = max(context, self._context(model, model.defaults).tokens)
        return self._pool.acquire(model.to_run, context=room, keep_alive=keep_alive)


def _runner(loaded: Loaded) -> RunnerProcess:
    assert loaded.runner is not None, "acquire returns loaded models"
    return loaded.runner
