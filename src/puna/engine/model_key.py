"""model_key: a name for all that KV values depend on besides the tokens: weights, configuration, code, machine.

Weights are told apart by their content, whatever file holds them. Reading a file of gigabytes takes seconds, so its
digest is remembered by the file's state (inode, size, times), and found out only when something is to be saved.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np

from puna import gguf, hardware, models
from puna.engine.disk_budget import DiskBudget
from puna.engine.prefix_store import Name, Pause
from puna.gguf import ModelConfig, ModelFile, Tensor, VisionConfig
from puna.kernels.cache import cache_key

PIECE_BYTES = 4 << 20


def model_key(file: ModelFile, *, kv_type: str, digests: Path, projector: ModelFile | None = None) -> Name:
    """The key, or, where the weights were never seen, how to find it out: that reads the whole file.

    projector: the file of an image encoder, whose vectors are among the values. To be called before the files are
    closed; the tensors it holds on to stay readable. `digests` is a folder to remember in.
    """
    remembered = digests / _digest(file.state.encode(), *([] if projector is None else [projector.state.encode()]))
    engine = _engine(ModelConfig.from_model(file), kv_type)
    tensors = dict(file.tensors)
    if projector is not None:
        engine += repr(VisionConfig.from_model(projector)).encode()
        tensors |= {f"projector {name}": tensor for name, tensor in projector.tensors.items()}

    def find_out(pause: Pause) -> str:
        weights = _weights(tensors, pause)
        _remember(remembered, weights)
        return _digest(engine, weights.encode())

    try:
        weights = remembered.read_text()
    except OSError:
        return find_out
    return _digest(engine, weights.encode()) if len(weights) == len(_digest()) else find_out


def _engine(config: ModelConfig, kv_type: str) -> bytes:
    """Everything but the weights: hyperparameters, the code that computes, the instruction set."""
    digest = blake2b(repr(config).encode())
    for package in (models, gguf):
        for source in sorted(Path(package.__path__[0]).rglob("*.py")):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    for part in (cache_key(hardware.target(hardware.isa())), np.__version__, kv_type):
        digest.update(part.encode() + b"\0")
    return digest.digest()


def _weights(tensors: Mapping[str, Tensor], pause: Pause) -> str:
    """A digest of all tensors, read a piece at a time."""
    digest = blake2b(digest_size=16)
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.name):
        digest.update(f"{tensor.name}\0{tensor.type.name}{tensor.shape}\0".encode())
        rows = max(1, PIECE_BYTES * tensor.rows // max(1, tensor.nbytes))
        for first in range(0, tensor.rows, rows):
            pause()
            digest.update(tensor.read(first, min(first + rows, tensor.rows)).data)
    return digest.hexdigest()


def _remember(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{DiskBudget.SCRATCH}{path.name}-{os.getpid()}")
    scratch.write_text(text)
    os.replace(scratch, path)


def _digest(*parts: bytes) -> str:
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
