"""Loading a model: what it costs in memory, and what becomes of files that change meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from puna import models
from puna.errors import InvalidGGUF
from puna.gguf import GGMLType, open_model
from puna.models import Chunk
from tests.models.running import loaded, write_random_llama

# Prints by how much loading raised the most memory that the process ever held, beside what it held before.
_LOAD = """
import sys
from pathlib import Path
from puna import kernels, models
from puna.gguf import open_model

def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

kernels.load()
before = kilobytes("VmRSS")
file = open_model(Path(sys.argv[1]))
model = models.load(file, threads=2, num_blocks=2)
print(kilobytes("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("kind", [GGMLType.Q8_0, GGMLType.Q4_0], ids=lambda kind: kind.name)
def test_loading_needs_little_more_memory_than_the_weights(kind: GGMLType, tmp_path: Path) -> None:
    path = write_random_llama(tmp_path / "model.gguf", kind, hidden=2048, feed=8192)
    done = subprocess.run([sys.executable, "-c", _LOAD, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 1.15 * path.stat().st_size


def test_a_file_cut_short_under_a_running_model_is_an_error_not_a_bus_error(tmp_path: Path) -> None:
    """Token embeddings are read as they are needed."""
    path = write_random_llama(tmp_path / "model.gguf", GGMLType.Q8_0)
    step = [Chunk([5], 0, [0], 1)]
    with loaded(path, tokens=32) as model:
        model.forward(step)
        os.truncate(path, 100_000)
        with pytest.raises(InvalidGGUF, match="changed after it was opened"):
            model.forward(step)


def test_a_file_cut_short_while_it_is_loaded_is_refused(tmp_path: Path) -> None:
    path = write_random_llama(tmp_path / "model.gguf", GGMLType.Q8_0)
    with open_model(path) as file:
        os.truncate(path, path.stat().st_size - 1000)
        with pytest.raises(InvalidGGUF, match="load the model again"):
            models.load(file, threads=2, num_blocks=2)
