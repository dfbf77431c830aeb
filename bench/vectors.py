"""`python -m bench vectors`: building and searching a store of vectors, beside Chroma, against exact search.

The vectors lie as those of texts do: about topics, each its own distance from one. Both contestants build on disk in a
process of their own, one after the other; then they answer the same queries in turns.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.process import ContestantError
from bench.results import Machine, Measures, Result

DIMENSION, TOPICS, SPREAD = 384, 1000, 0.7
TOP = 10
HERE = Path(__file__).parent / "contestants"


def run(count: int, queries: int, rounds: int, chroma_python: str) -> Result:
    """Measure; prints what it finds. Raises ContestantError: one of them ends early."""
    with tempfile.TemporaryDirectory() as text, contextlib.ExitStack() as stack:
        place = Path(text)
        rng = np.random.default_rng(1)
        topics = rng.normal(size=(TOPICS, DIMENSION))
        data, asked = (_units(rng, topics, size) for size in (count, queries))
        np.save(place / "data.npy", data)
        np.save(place / "queries.npy", asked)
        right = np.argsort(-(asked @ data.T), axis=1)[:, :TOP]
        absent: dict[str, str] = {}
        running: dict[str, _Contestant] = {}
        lines = {
            "puna": [sys.executable, "-m", "bench.contestants.puna_vectors"],
            "chroma": [chroma_python, str(HERE / "chroma_vectors.py")],
        }
        for name, line in lines.items():
            try:
                contestant = _Contestant([*line, str(place / "data.npy"), str(place / "queries.npy"), str(TOP)])
                running[name] = stack.enter_context(contextlib.closing(contestant))
            except ContestantError as error:
                if name == "puna":
                    raise
                absent[name] = str(error)
        turns = [{name: _turn(each, right) for name, each in running.items()} for _ in range(rounds)]
    facts = {name: each.facts for name, each in running.items()}
    result = Result(
        "vectors", f"{count}-{DIMENSION}", Machine.here(os.cpu_count() or 1), facts, absent, turns, data.nbytes
    )
    for told in _told(result):
        print(told)
    return result


class _Contestant:
    """A process that has built its store."""

    def __init__(self, line: list[str]) -> None:
        self._line = " ".join(line[:3])
        self._process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.facts: dict[str, Any] = self._read()

    def ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ContestantError(f"{self._line} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _units(rng: np.random.Generator, topics: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    made = topics[rng.integers(0, TOPICS, count)] + SPREAD * rng.normal(size=(count, DIMENSION))
    units: NDArray[np.float32] = (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)
    return units


def _turn(contestant: _Contestant, right: NDArray[np.int64]) -> Measures:
    answer = contestant.ask()
    hits = sum(len(set(row) & set(found)) for row, found in zip(right.tolist(), answer["found"], strict=True))
    return {
        "build": float(contestant.facts["seconds"]),
        "query": median(answer["times"]),
        "recall": hits / right.size,
    }


def _told(result: Result) -> Iterator[str]:
    for name, facts in result.facts.items():
        build, query, recall = (result.median(name, measure) or 0 for measure in ("build", "query", "recall"))
        yield (
            f"{name} ({facts['version']}): built in {build:.1f} s, query p50 {query * 1e3:.2f} ms, "
            f"recall@{TOP} {recall:.4f}"
        )
