"""Writes the results of fixed quantised products to a file: `python -m tests.kernels.fixed_results FILE`.

Run once under each instruction set; the files are compared by test_instruction_sets.py.
"""

from __future__ import annotations

import sys
from collections.abc import Container
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from puna import kernels
from tests.kernels.quantized import KINDS, columns, multiply, random_blocks
from tests.kernels.running import Kernels, normal


def results(library: kernels.KernelLibrary, names: Container[str]) -> dict[str, NDArray[np.float32]]:
    """Products for the kinds of weights of these names."""
    run, made = Kernels(library), {}
    for kind in KINDS:
        if kind.name not in names:
            continue
        width = 2 * columns(kind)
        raw = random_blocks(kind, 1, 35, width)
        for tokens in (1, 2, 7, 30):
            x, y = normal(tokens, tokens, width), normal(3, tokens, 48)
            made[f"{kind.name} of {tokens}"] = multiply(run, kind, raw, x, threads=2)
            made[f"{kind.name} of {tokens} added"] = multiply(run, kind, raw, x, y)
    run.close()
    return made


def main(path: Path) -> None:
    made = results(kernels.load(), {kind.name for kind in KINDS})
    np.savez(path, **made)  # type: ignore[arg-type]  # its stub takes the names for options


if __name__ == "__main__":
    main(Path(sys.argv[1]))
