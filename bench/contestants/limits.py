"""What this machine can do at most: bytes read from memory and 8-bit operations, a second.

Measured with the kernels' own instructions, so that a share of these limits means something. It is a contestant like
the others, so that a round can ask for the limits of that very minute: a virtual machine's change.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.contestants.engine import Measures
from bench.contestants.serving import serve
from puna import hardware, kernels
from puna.kernels import Tape, Team
from puna.models.memory import zeros

READ_BYTES = 1 << 30
DOT_ROUNDS = 4_000_000
RUNS = 3  # of each, of which the best counts


class Limits:
    """Tapes that reach the limits."""

    def load(self, threads: int) -> dict[str, Any]:
        """Make them."""
        library = kernels.load()
        self._team = Team(library, threads)
        source, out = zeros((READ_BYTES,), np.uint8), zeros((threads * 1024,), np.float32)
        source[:] = 0
        self._read, self._dot = Tape(library), Tape(library)
        self._read.record("stream_read", {"source": source, "lines": READ_BYTES // 256, "out": out})
        self._dot.record("dot_peak", {"source": source, "rounds": DOT_ROUNDS, "out": out})
        return {"isa": str(hardware.isa())}

    def limits(self) -> Measures:
        """Gigabytes read a second, and gigaoperations: multiplications and additions of 8-bit integers."""
        return {
            "read": READ_BYTES / min(self._seconds(self._read) for _ in range(RUNS)) / 1e9,
            "dot": DOT_ROUNDS * 12 * 128 / min(self._seconds(self._dot) for _ in range(RUNS)) / 1e9,
        }

    def _seconds(self, tape: Tape) -> float:
        start = time.perf_counter()
        self._team.run(tape)
        return time.perf_counter() - start


if __name__ == "__main__":
    serve(Limits())
