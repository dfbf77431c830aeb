"""The loaded models: one runner process each; loaded when needed, unloaded when idle, replaced when dead.

Knows nothing of prompts and tokens: it lends runners and takes them back.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from puna.engine import OnProgress, RunnerProcess
from puna.errors import PunaError
from puna.runtime.types import LoadedStatus
from puna.store import LocalModel

Start: TypeAlias = Callable[[Path, int], RunnerProcess]  # (model, context length) -> a runner that has loaded it


@dataclass(slots=True, eq=False)
class Loaded:
    """A model that is loaded or being loaded. Its fields belong to the pool."""

    local: LocalModel
    context: int  # tokens a sequence may have
    keep_alive: float  # seconds
    runner: RunnerProcess | None = None  # None while it loads
    open: int = 0  # requests that hold it
    retiring: bool = False  # no new request may have it; it goes when the open ones have ended
    timer: threading.Timer | None = field(default=None, repr=False)
    expires_at: datetime | None = None

    @property
    def usable(self) -> bool:
        """Whether its runner lives and takes requests."""
        return self.runner is not None and self.runner.alive and not self.retiring


_Step: TypeAlias = tuple[Literal["use", "load", "close"], Loaded]


class Pool:
    """At most `max_loaded` loaded models. Thread-safe.

    A model's keep-alive timer runs while no request holds it. Where a place is needed, the idle model with
    the shortest keep-alive goes.
    """

    def __init__(self, start: Start, *, max_loaded: int, keep_alive: float) -> None:
        self._start = start
        self._max_loaded = max_loaded
        self._keep_alive = keep_alive
        self._changed = threading.Condition()
        self._models: dict[Path, Loaded] = {}
        self._closed = False

    def acquire(self, local: LocalModel, *, context: int, keep_alive: float | None) -> Loaded:
        """A loaded model with room for `context` tokens a request, to be given back by `release`.

        Blocks while it loads.

        Raises:
            PunaError: it cannot be loaded (of the type that says why), or the pool is closed.
        """
        while True:
            do, loaded = self._next_step(local, context, keep_alive)
            if do == "use":
                return loaded
            if do == "load":
                return self._load(loaded)
            _close(loaded)

    def release(self, loaded: Loaded) -> None:
        """Give it back. The last one to do so starts the timer."""
        with self._changed:
            loaded.open -= 1
            if loaded.open == 0:
                self._rest(loaded)
            self._changed.notify_all()

    def unload(self, local: LocalModel) -> bool:
        """Unload now if idle, else when its requests have ended. False when it is not loaded."""
        with self._changed:
            loaded = self._models.get(local.path)
            if loaded is None:
                return False
            loaded.retiring = True
            idle = loaded.runner is not None and loaded.open == 0
            if idle:
                self._remove(loaded)
        if idle:
            _close(loaded)
        return True

    def status(self) -> list[LoadedStatus]:
        """The loaded models, the one that stays longest first."""
        with self._changed:
            models = [_status(loaded) for loaded in self._models.values() if loaded.usable]
        last = datetime.max.replace(tzinfo=UTC)
        return sorted(models, key=lambda status: status.expires_at or last, reverse=True)

    def close(self) -> None:
        """End every runner; what runs on them fails. No model can be acquired afterwards."""
        with self._changed:
            self._closed = True
            models = list(self._models.values())
            for loaded in models:
                self._remove(loaded)
        for loaded in models:
            _close(loaded)

    def _next_step(self, local: LocalModel, context: int, keep_alive: float | None) -> _Step:
        """What the caller must do next, outside the lock. Waits where another thread has to finish first."""
        with self._changed:
            while True:
                if self._closed:
                    raise PunaError("the runtime is closed")
                loaded = self._models.get(local.path)
                step = self._place(local, context) if loaded is None else self._claim(loaded, context)
                if step is None:
                    self._changed.wait()
                    continue
                if step[0] != "close":
                    self._take(step[1], keep_alive)
                return step

    def _place(self, local: LocalModel, context: int) -> _Step | None:
        if len(self._models) < self._max_loaded:
            loaded = Loaded(local, context, self._keep_alive)
            self._models[local.path] = loaded
            return "load", loaded
        idle = [loaded for loaded in self._models.values() if loaded.runner is not None and loaded.open == 0]
        if not idle:
            return None
        victim = min(
            idle,
            key=lambda loaded: (loaded.keep_alive, loaded.expires_at or datetime.max.replace(tzinfo=UTC)),
        )
        self._remove(victim)
        return "close", victim

    def _claim(self, loaded: Loaded, context: int) -> _Step | None:
        if loaded.runner is None:
            return None  # another thread is loading it
        if loaded.usable and loaded.context >= context:
            return "use", loaded
        loaded.retiring = True
        if loaded.open:
            return None
        self._remove(loaded)
        return "close", loaded

    def _take(self, loaded: Loaded, keep_alive: float | None) -> None:
        if keep_alive is not None:
            loaded.keep_alive = keep_alive
        if loaded.timer is not None:
            loaded.timer.cancel()
            loaded.timer = None
        loaded.expires_at = None
        loaded.open += 1

    def _load(self, loaded: Loaded) -> Loaded:
        try:
            runner = self._start(loaded.local.path, loaded.context)
        except BaseException:
            with self._changed:
                self._remove(loaded)
            raise
        with self._changed:
            loaded.runner = runner
            loaded.context = runner.loaded.context  # more than was asked for, where memory allows
            closed = self._closed
            self._changed.notify_all()
        if closed:
            runner.close()
            raise PunaError("the runtime is closed")
        return loaded

    def _rest(self, loaded: Loaded) -> None:
        """No request holds it any more: unload it, or start its timer.

        Called with the lock held, often by the runner's own thread: it must not wait for the runner.
        """
        if self._models.get(loaded.local.path) is not loaded:
            return
        if not loaded.usable or loaded.keep_alive <= 0:
            self._remove(loaded)
            threading.Thread(target=_close, args=(loaded,), name="unload").start()
        elif not math.isinf(loaded.keep_alive):
            loaded.expires_at = _after(loaded.keep_alive)
            seconds = min(loaded.keep_alive, threading.TIMEOUT_MAX)
            loaded.timer = threading.Timer(seconds, self._expire, (loaded, loaded.expires_at))
            loaded.timer.daemon = True
            loaded.timer.start()

    def _expire(self, loaded: Loaded, expires_at: datetime) -> None:
        with self._changed:
            if loaded.open or loaded.expires_at != expires_at or self._models.get(loaded.local.path) is not loaded:
                return  # taken again in the meantime
            self._remove(loaded)
        _close(loaded)

    def _remove(self, loaded: Loaded) -> None:
        if self._models.get(loaded.local.path) is loaded:
            del self._models[loaded.local.path]
        if loaded.timer is not None:
            loaded.timer.cancel()
        self._changed.notify_all()


def _close(loaded: Loaded) -> None:
    if loaded.runner is not None:
        loaded.runner.close()


def _status(loaded: Loaded) -> LoadedStatus:
    assert loaded.runner is not None
    forever = math.isinf(loaded.keep_alive)
    return LoadedStatus(
        model=loaded.local,
        pid=loaded.runner.pid,
        context_length=loaded.context,
        open_requests=loaded.open,
        expires_at=None if forever else loaded.expires_at or _after(loaded.keep_alive),
    )


def _after(seconds: float) -> datetime:
    return datetime.now().astimezone() + timedelta(seconds=seconds)


def runner_starter(
    *, threads: int, num_parallel: int, kv_type: str, prefix_cache: int, check: bool, on_progress: OnProgress | None
) -> Start:
    """How the pool starts a runner: `python -m puna.engine.runner` on the model's file."""

    def start(path: Path, context: int) -> RunnerProcess:
        return RunnerProcess.start(
            path,
            threads=threads,
            context=context,
            max_sequences=num_parallel,
            kv_type=kv_type,
            prefix_cache=prefix_cache,
            check=check,
            on_progress=on_progress,
        )

    return start
