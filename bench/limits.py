"""What this machine can do at most: bytes read from memory and 8-bit operations, a second.

    python bench/limits.py --threads 2

Measured with the kernels' own instructions, so that a share of these limits means something.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass

import numpy as np

from puna import kernels
from puna.kernels import Tape, Team
from puna.models.memory import zeros

READ_BYTES = 1 << 30
DOT_ROUNDS = 4_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The best of several runs."""

    read_gigabytes_per_second: float
    dot_gigaoperations_per_second: float


class LimitsProbe:
    """Tapes that reach the limits; `read` and `dot` give the rate of one run."""

    def __init__(self, threads: int) -> None:
        library = kernels.load()
        self._team = Team(library, threads)
        source, out = zeros((READ_BYTES,), np.uint8), zeros((threads * 1024,), np.float32)
        source[:] = 0
        self._read, self._dot = Tape(library), Tape(library)
        self._read.record("stream_read", {"source": source, "lines": READ_BYTES // 256, "out": out})
        self._dot.record("dot_peak", {"source": source, "rounds": DOT_ROUNDS, "out": out})

    def read(self) -> float:
        """Gigabytes a second."""
        return READ_BYTES / self._seconds(self._read) / 1e9

    def dot(self) -> float:
        """Gigaoperations (multiplications and additions of 8-bit integers) a second."""
        return DOT_ROUNDS * 12 * 128 / self._seconds(self._dot) / 1e9

    def _seconds(self, tape: Tape) -> float:
        start = time.perf_counter()
        self._team.run(tape)
        return time.perf_counter() - start


def measure(threads: int, runs: int = 7) -> Limits:
    """The best of `runs` each."""
    probe = LimitsProbe(threads)
    return Limits(max(probe.read() for _ in range(runs)), max(probe.dot() for _ in range(runs)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="This machine's limits")
    parser.add_argument("--threads", type=int, default=2)
    print(json.dumps(asdict(measure(parser.parse_args().threads)), indent=1))


if __name__ == "__main__":
    main()
