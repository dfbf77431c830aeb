"""A runner whose model is the toy: `python -m tests.engine.toy_runner [BEHAVIOUR ...]`.

See `load` for what it can do.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from puna.engine import OnProgress
from puna.engine.engine import Engine
from puna.engine.runner import serve
from puna.errors import UnsupportedModel
from puna.models import Chunk
from tests.engine.toy_model import ToyModel


class SlowModel(ToyModel):
    """Takes 20 ms a step, so that a test can act in mid-answer; dies where told to."""

    dies_at = sys.maxsize

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        time.sleep(0.02)
        if len(self.steps) == self.dies_at:
            raise RuntimeError("the kernel on fire")
        return super().forward(chunks)


def load(progress: OnProgress, behaviour: list[str]) -> Engine:
    """The engine, after doing what the behaviours say."""
    progress("compiling", 1, 2)
    progress("compiling", 2, 2)
    if "noisy" in behaviour:  # as a library may be, from Python or from C
        print("hello from Python")
        os.write(1, b"hello from C\n")
        assert sys.stdin.read() == ""
    if "unsupported" in behaviour:
        raise UnsupportedModel("architecture 'toy' is not one of llama")
    if "crash" in behaviour:
        raise RuntimeError("out of cheese")
    if "forever" in behaviour:
        time.sleep(600)
    model = SlowModel(num_blocks=32)
    if "fire" in behaviour:
        model.dies_at = 5
    return Engine(model, context=1000, max_sequences=4)


if __name__ == "__main__":
    sys.exit(serve(lambda progress: load(progress, sys.argv[1:])))
