"""The one entrance to running models: requests in, deltas out, models loaded and unloaded as needed."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from puna import hardware, paths
from puna.engine import OnProgress, RunnerProcess
from puna.errors import PunaError, RunnerDied
from puna.runtime import prompt as prompts
from puna.runtime import settings
from puna.runtime.generation import Generation
from puna.runtime.pool import Loaded, Pool, runner_starter
from puna.runtime.sequence_request import continues, sequence_request
from puna.runtime.text import TextModel
from puna.runtime.types import (
    Event,
    Finished,
    LoadedStatus,
    Options,
    Prompt,
    Request,
    SinkEvent,
)
from puna.store import LocalModel, Store

TEXT_MODELS_KEPT = 8


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
        starter = runner_starter(
            threads=threads or hardware.threads(),
            num_parallel=num_parallel or settings.integer(paths.NUM_PARALLEL) or settings.DEFAULT_PARALLEL,
            kv_type=settings.kv_cache_type(),
            prefix_cache=settings.prefix_cache_bytes() if prefix_cache is None else prefix_cache,
            check=check,
            on_progress=on_progress,
        )
        self._pool = Pool(
            starter,
            max_loaded=max_loaded or settings.integer(paths.MAX_LOADED_MODELS) or settings.DEFAULT_MAX_LOADED,
            keep_alive=settings.default_keep_alive() if keep_alive is None else keep_alive,
        )
        self._lock = threading.Lock()
        self._text_models: OrderedDict[tuple[str, str], TextModel] = OrderedDict()  # by name and digest

    def start(self, request: Request, sink: Callable[[SinkEvent], None]) -> Generation:
        """Begin to generate; blocks only to load the model.

        `sink` is called from another thread, one event at a time: Deltas, then one Finished or one PunaError.
        It must not block.

        Raises:
            ModelNotFound, UnsupportedModel, InvalidGGUF, InvalidTokenizer, TemplateError, ContextOverflow,
            InvalidRequest: before anything runs.
            KernelError, RunnerDied: the model could not be loaded.
        """
        started = time.monotonic()
        model = self.text_model(request.model)
        options = request.options.over(model.defaults)
        context = self._context(model, options)
        prompt = prompts.build(request, model, options, context)
        request_id = uuid.uuid4().hex
        engine_request = sequence_request(request_id, prompt, options, model.tokenizer, client=request.client)
        while True:
            loaded = self._acquire(model, context.tokens, request.keep_alive)
            generation = Generation(
                engine_request.id,
                replace(prompt, warnings=prompt.warnings + _runner(loaded).loaded.warnings),
                tokenizer=model.tokenizer,
                continues=continues(request),
                stops=options.stop or (),
                sink=sink,
                cancel=_runner(loaded).cancel,
                ended=lambda loaded=loaded: self._pool.release(loaded),  # type: ignore[misc]
                started=started,
                load_seconds=time.monotonic() - started,
            )
            try:
                _runner(loaded).submit(engine_request, generation.on_event)
                return generation
            except RunnerDied:  # between lending and submitting: lend a new one
                self._pool.release(loaded)
            except BaseException:
                self._pool.release(loaded)
                raise

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

    def load(self, name: str, *, context_length: int | None = None, keep_alive: float | None = None) -> LocalModel:
        """Load a model if it is not loaded yet, and (re)start its keep-alive timer."""
        model = self.text_model(name)
        options = Options(context_length=context_length).over(model.defaults)
        self._pool.release(self._acquire(model, self._context(model, options).tokens, keep_alive))
        return model.local

    def unload(self, name: str) -> bool:
        """Unload now if idle, else when its open requests have ended. False when it was not loaded."""
        return self._pool.unload(self.store.resolve(name))

    def ps(self) -> list[LoadedStatus]:
        """The loaded models, the one that stays longest first."""
        return self._pool.status()

    def close(self) -> None:
        """End all runners; what runs on them fails."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _context(self, model: TextModel, options: Options) -> prompts.ContextLength:
        return prompts.context_length(options, model.config.context_length, self._context_length)

    def _acquire(self, model: TextModel, context: int, keep_alive: float | None) -> Loaded:
        """Loaded with the default context even for a request that wants less: the next need not reload it."""
        room = max(context, self._context(model, model.defaults).tokens)
        return self._pool.acquire(model.local, context=room, keep_alive=keep_alive)


def _runner(loaded: Loaded) -> RunnerProcess:
    assert loaded.runner is not None, "acquire returns loaded models"
    return loaded.runner
