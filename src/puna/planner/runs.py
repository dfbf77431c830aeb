"""Real runs beside what was predicted of them, kept in the cache: later predictions are corrected by the last ones.

`puna bench` and the server note them. Knows nothing of where rates and times come from.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from puna import paths
from puna.planner.anatomy import Anatomy
from puna.planner.rates import Rates
from puna.planner.roofline import decode_step, prefill_steps

KEPT = 200
COUNTED = 9  # of the same types of weights, the last ones; their median ratio corrects


@dataclass(frozen=True, slots=True)
class Work:
    """What one run does: after `depth` tokens that were there before, a prompt, then a step for each token."""

    prompt_tokens: int
    gen_tokens: int
    depth: int

    @property
    def length(self) -> int:
        """Tokens in the context at the end."""
        return self.depth + self.prompt_tokens + self.gen_tokens


@dataclass(frozen=True, slots=True)
class Predicted:
    """Tokens a second, as `puna plan` would say, but without correction by earlier runs."""

    prefill: float
    decode: float


def predict(anatomy: Anatomy, work: Work, rates: Rates, kv_type: str = "f16") -> Predicted:
    """What a machine's rates say of the work."""
    prefill = sum(step.seconds for step in prefill_steps(anatomy, rates, work.prompt_tokens, work.depth))
    middle = work.depth + work.prompt_tokens + work.gen_tokens // 2
    return Predicted(work.prompt_tokens / prefill, 1 / decode_step(anatomy, rates, middle, 1, kv_type).seconds)


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement beside what was predicted before it, without correction: tokens a second."""

    types: str  # the file type of the weights
    threads: int
    predicted_prefill: float
    prefill: float
    predicted_decode: float
    decode: float


def note(run: Run) -> None:
    """Add a run."""
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(dataclasses.asdict(each)) for each in (*noted(), run)][-KEPT:]
    partial = path.with_suffix(f".{time.time_ns()}")
    partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(path)


def noted() -> list[Run]:
    """All that were noted, the last one last; lines that cannot be read are passed over."""
    try:
        lines = _file().read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(Run(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def corrections(types: str, threads: int) -> tuple[float, float]:
    """What to multiply predictions of (prefill, decode) with: the median of measured / predicted; 1 without runs."""
    alike = [run for run in noted() if run.threads == threads and run.types == types][-COUNTED:]
    if not alike:
        return 1.0, 1.0
    return (
        median(run.prefill / run.predicted_prefill for run in alike),
        median(run.decode / run.predicted_decode for run in alike),
    )


def forget() -> None:
    """What was noted was predicted by other rates."""
    _file().unlink(missing_ok=True)


def _file() -> Path:
    return paths.cache_dir() / "planner" / "runs.jsonl"
