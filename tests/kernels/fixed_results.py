"""Writes the results of fixed quantised products to a file: `python -m tests.kernels.fixed_results FILE`.

Run once under each instruction set; the files are compared by test_instruction_sets.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from puna import kernels
from tests.kernels.quantized import KINDS, multiply
from tests.kernels.running import Kernels, normal


def main(path: Path) -> None:
    run = Kernels(kernels.load())
    results = {}
    for kind in KINDS:
        for tokens in (1, 2, 7, 30):
            blocks, x = kind.blocks(*kind.random(tokens, 75, 11)), normal(tokens, tokens, 11 * 32)
            y = normal(3, tokens, 80)
            results[f"{kind.name} of {tokens}"] = multiply(run, kind, blocks, x, threads=2)
            results[f"{kind.name} of {tokens} added"] = multiply(run, kind, blocks, x, y)
    run.close()
    np.savez(path, **results)  # type: ignore[arg-type]  # its stub takes the names for options


if __name__ == "__main__":
    main(Path(sys.argv[1]))
