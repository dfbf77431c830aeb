"""The loaded models: one runner process each; loaded when needed, unloaded when idle, replaced when dead.

Knows nothing of prompts and tokens: it lends runners and takes them back.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from puna.engine import OnProgress, RunnerProcess
from puna.errors import InsufficientMemory, PunaError
from puna.runtime.types import LoadedStatus
from puna.store import LocalModel

# (model, context length) -> a runner that has loaded it
Start: TypeAlias = Callable[[LocalModel, int], RunnerProcess]


class Gate(Protocol):
    """Says what models need and what there is: `puna.runtime.admission`."""

    def need(self, local: LocalModel, context: int) -> int:
        """Bytes that it takes."""

    def available(self) -> int:
        """Bytes that can be taken now."""

    def refusal(self, local: LocalModel, context: int, room: int) -> PunaError:
        """What to say where they are too few."""


@dataclass(slots=True, eq=False)
class Loaded:
    """A model that is loaded or being loaded. Its fields belong to the pool."""

    local: LocalModel  # with all adapters that are loaded beside it
    context: int  # tokens a sequence may have
    keep_alive: float  # seconds
    runner: RunnerProcess | None = None  # None while it loads
    need: int = 0  # bytes, as predicted
    open: int = 0  # requests that hold it
    shared: bool = False  # others ran, on this model or another, since the first of these came
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

    Models of one file that differ in their adapters share a runner, which holds the adapters of all that were asked for
    while it is loaded: one that is new to it makes it load again, with those it has.

    A model's keep-alive timer runs while no request holds it. Where a place or memory is needed, the idle model goes
    that is loaded again soonest, the smallest; one that is to stay for ever only after all others.

    gate: asked before each load; None: whatever fits into the places is loaded.
    """

    def __init__(self, start: Start, *, max_loaded: int, keep_alive: float, gate: Gate | None = None) -> None:
        self._start = start
        self._gate = gate
        self._max_loaded = max_loaded
        self._keep_alive = keep_alive
        self._changed = threading.Condition()
        self._models: dict[Path, Loaded] = {}
        self._closed = False

    def acquire(self, local: LocalModel, *, context: int, keep_alive: float | None) -> Loaded:
        """A loaded model with room for `context` tokens a request, to be given back by `release`.

        Blocks while it loads.

        Raises:
            InsufficientMemory: it would not fit, even alone.
            PunaError: it cannot be loaded (of the type that says why), or the pool is closed.
        """
        together = self._with_adapters_beside(local)
        try:
            return self._acquire(together, context, keep_alive)
        except InsufficientMemory:
            if together.adapters == local.adapters[:1]:
                raise
            return self._acquire(replace(local, adapters=local.adapters[:1]), context, keep_alive)

    def _with_adapters_beside(self, local: LocalModel) -> LocalModel:
        """The model with its own adapter, and those that its runner has already."""
        with self._changed:
            loaded = self._models.get(local.path)
        beside = loaded.local.adapters if loaded is not None else ()
        own = (*local.adapters[:1], *(path for path in beside if path.exists()))
        return replace(local, adapters=tuple(dict.fromkeys(own)))

    def _acquire(self, local: LocalModel, context: int, keep_alive: float | None) -> Loaded:
        need = self._gate.need(local, context) if self._gate else 0
        while True:
            do, loaded = self._next_step(local, context, need, keep_alive)
            if do == "use":
                return loaded
            if do == "load":
                return self._load(loaded)
            _close(loaded)

    def release(self, loaded: Loaded) -> bool:
        """Give it back; whether no other request ran meanwhile. The last one to do so starts the timer."""
        with self._changed:
            loaded.open -= 1
            if loaded.open == 0:
                self._rest(loaded)
            self._changed.notify_all()
            return not loaded.shared

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

    def _next_step(self, local: LocalModel, context: int, need: int, keep_alive: float | None) -> _Step:
        """What the caller must do next, outside the lock. Waits where another thread has to finish first."""
        with self._changed:
            while True:
                if self._closed:
                    raise PunaError("the runtime is closed")
                loaded = self._models.get(local.path)
                step = self._place(local, context, need) if loaded is None else self._claim(loaded, local, context)
                if step is None:
                    self._changed.wait()
                    continue
                if step[0] != "close":
                    self._take(step[1], keep_alive)
                return step

    def _place(self, local: LocalModel, context: int, need: int) -> _Step | None:
        room = self._room() if self._gate else need
        reach = room + sum(loaded.need for loaded in self._models.values())
        if self._gate and need > reach:  # nor would it if all others went
            raise self._gate.refusal(local, context, reach)
        if len(self._models) < self._max_loaded and need <= room:
            loaded = Loaded(local, context, self._keep_alive, need=need)
            self._models[local.path] = loaded
            return "load", loaded
        idle = [loaded for loaded in self._models.values() if loaded.runner is not None and loaded.open == 0]
        if idle:
            victim = min(idle, key=_cost)
            self._remove(victim)
            return "close", victim
        return None

    def _room(self) -> int:
        """Free bytes, less what models that are being loaded will take."""
        assert self._gate is not None
        return self._gate.available() - sum(loaded.need for loaded in self._models.values() if loaded.runner is None)

    def _claim(self, loaded: Loaded, local: LocalModel, context: int) -> _Step | None:
        if loaded.runner is None:
            return None  # another thread is loading it
        if loaded.usable and loaded.context >= context and set(local.adapters) <= set(loaded.local.adapters):
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
        busy = [other for other in self._models.values() if other.open]
        loaded.open += 1
        loaded.shared = bool(busy)
        for other in busy:
            other.shared = True

    def _load(self, loaded: Loaded) -> Loaded:
        try:
            runner = self._start(loaded.local, loaded.context)
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


def _cost(loaded: Loaded) -> tuple[bool, int, datetime]:
    """Of loading it again; of equal ones the one that would go first goes."""
    forever = math.isinf(loaded.keep_alive)
    return forever, loaded.local.size, loaded.expires_at or datetime.max.replace(tzinfo=UTC)


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

    def start(local: LocalModel, context: int) -> RunnerProcess:
        return RunnerProcess.start(
            local.path,
            threads=threads,
            context=context,
            max_sequences=num_parallel,
            kv_type=kv_type,
            prefix_cache=prefix_cache,
            draft=local.draft,
            adapters=local.adapters,
            projector=local.projectors[0] if local.projectors else None,
            check=check,
            on_progress=on_progress,
        )

    return start
