"""Answers beside what the planner predicts of them: whoever plans later learns of them.

Only what ran alone, without speculation or adapters, and long enough to be timed says something of a prediction. Does
nothing on a machine whose rates nobody has asked for. Knows nothing of prompts and tokens.
"""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from puna.errors import PunaError
from puna.gguf import open_model
from puna.planner import calibration, runs
from puna.planner.anatomy import Anatomy, anatomy_of
from puna.planner.plan import file_type
from puna.runtime.types import Usage
from puna.store import LocalModel

SHORTEST_PROMPT, SHORTEST_ANSWER = 128, 32  # tokens computed, below which a time says little

_log = logging.getLogger(__name__)


class Observer:
    """Notes answers, from a thread of its own."""

    def __init__(self, threads: int, kv_type: str) -> None:
        self._threads, self._kv_type = threads, kv_type
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="observe")
        self._known = lru_cache(16)(_anatomy)

    def note(self, local: LocalModel, usage: Usage) -> None:
        """Keep what an answer took that had the machine for itself. Returns at once."""
        if local.adapters or local.draft or usage.drafted_tokens:
            return
        depth = usage.cache.cached_tokens
        work = runs.Work(usage.prompt_tokens - depth, usage.completion_tokens - 1, depth)
        if work.prompt_tokens >= SHORTEST_PROMPT and work.gen_tokens >= SHORTEST_ANSWER:
            self._thread.submit(self._note, local, work, usage)

    def close(self) -> None:
        """Wait for what is being noted."""
        self._thread.shutdown()

    def _note(self, local: LocalModel, work: runs.Work, usage: Usage) -> None:
        known = calibration.load(self._threads)
        if known is None:
            return
        try:
            anatomy, types = self._known(local.path, local.digest)
            predicted = runs.predict(anatomy, work, known.rates(), self._kv_type)
            prefill, decode = work.prompt_tokens / usage.prompt_seconds, work.gen_tokens / usage.decode_seconds
            runs.note(runs.Run(types, self._threads, predicted.prefill, prefill, predicted.decode, decode))
        except (PunaError, OSError) as error:  # the answer has long been given
            _log.warning("the speed of %s was not noted: %s", local.name, error)


def _anatomy(path: Path, _digest: str) -> tuple[Anatomy, str]:
    """The digest is a key alone: another file may come to stand at the path."""
    with open_model(path) as file:
        return anatomy_of(file), file_type(file)
