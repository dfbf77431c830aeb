"""Whether a model may be loaded: what it will need, asked of the planner, beside what this machine has.

A load that would end in the system's killing the runner, or this server, is refused with numbers and with what would
fit. Knows nothing of which models are loaded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from puna import hardware
from puna.errors import InsufficientMemory
from puna.gguf import open_model
from puna.models import stacked_bytes
from puna.planner.anatomy import anatomy_of
from puna.planner.memory import Load, Memory, runner_memory
from puna.planner.plan import Option, fitting
from puna.store import LocalModel

KEPT = 64  # models whose needs are remembered

_HINTS = {
    "kv_type": "set PUNA_KV_CACHE_TYPE={}",
    "context": "a context of {} tokens (num_ctx)",
    "quantization": "the model quantised to {}",
}


@dataclass(frozen=True, slots=True)
class Admission:
    """Answers for runners of so many threads with a KV cache of a type. Thread-safe."""

    threads: int
    kv_type: str
    _known: OrderedDict[tuple[Path, str, tuple[Path, ...], int], int]
    _lock: threading.Lock

    @classmethod
    def of(cls, threads: int, kv_type: str) -> Admission:
        """One that knows no model yet."""
        return cls(threads, kv_type, OrderedDict(), threading.Lock())

    def need(self, local: LocalModel, context: int) -> int:
        """Bytes that a runner takes with one such context in use: draft model, projector and adapters included.

        Raises InvalidGGUF, UnsupportedModel, ModelNotFound.
        """
        key = (local.path, local.digest, local.adapters, context)
        with self._lock:
            if key in self._known:
                return self._known[key]
        files = [local.path, *([local.draft] if local.draft else [])]
        total = sum(self._memory(path, context).total for path in files) + _adapters(local.adapters)
        total += sum(path.stat().st_size for path in local.projectors)  # which are held as they are stored
        with self._lock:
            self._known[key] = total
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return total

    def available(self) -> int:
        """Bytes that programs can take now."""
        return hardware.memory().available

    def refusal(self, local: LocalModel, context: int, room: int) -> InsufficientMemory:
        """What to say where `room` bytes are too few."""
        memory = self._memory(local.path, context)
        need = self.need(local, context)
        with open_model(local.path) as file:
            takes = partial(runner_memory, threads=self.threads)
            spare = max(0, room - (need - memory.total))  # beside a draft model
            options = list(fitting(file, Load(context, kv_type=self.kv_type), spare, takes))
        parts = f"weights {_gb(memory.weights)}, KV cache {_gb(memory.kv_cache)} in {self.kv_type}"
        return InsufficientMemory(
            f"{local.name} needs {_gb(need)} with a context of {context} tokens ({parts}), and {_gb(room)} of memory "
            f"are free: {_advice(options)}"
        )

    def _memory(self, path: Path, context: int) -> Memory:
        with open_model(path) as file:
            return runner_memory(anatomy_of(file), Load(context, kv_type=self.kv_type), threads=self.threads)


def _adapters(paths: tuple[Path, ...]) -> int:
    with ExitStack() as stack:
        return stacked_bytes([stack.enter_context(open_model(path)) for path in paths])


def _advice(options: list[Option]) -> str:
    if not options:
        return "no smaller context or quantisation would fit; take a smaller model"
    return "it fits with " + ", or ".join(
        f"{_HINTS[option.what].format(option.value)} ({_gb(option.total)})" for option in options
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB"
