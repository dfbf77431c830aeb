"""Running a model file on `puna.models` as simply as can be: one sequence, logits of chosen positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna import models
from puna.gguf import GGMLType, GGUFWriter, ModelFile, dequantize, open_model, quantize
from puna.models import Chunk, Model

Logits = NDArray[np.float32]


@contextmanager
def loaded(path: Path, *, tokens: int = 256, threads: int = 1, **options: Any) -> Iterator[Model]:
    """A model with KV blocks for so many tokens, whose threads end with the block."""
    with open_model(path) as file:
        model = models.load(file, threads=threads, num_blocks=models.blocks_for(tokens), **options)
        try:
            yield model
        finally:
            model.close()


def logits(model: Model, tokens: Sequence[int], *, first: int = 0) -> Logits:
    """Logits (len(tokens) - first, vocab_size) after each token from `first` on, at most max_outputs in a step."""
    table = range(models.blocks_for(len(tokens)))
    if first:
        model.forward([Chunk(tokens[:first], 0, table, 0)])
    steps = range(first, len(tokens), model.max_outputs)
    chunks = [(tokens[i : i + model.max_outputs], i) for i in steps]
    return np.concatenate([model.forward([Chunk(part, i, table, len(part))]).copy() for part, i in chunks])


def write_gguf(
    path: Path, source: ModelFile, kind: GGMLType | None, *, metadata: Mapping[str, Any] | None = None,
    change: Callable[[dict[str, NDArray[np.float32]]], None] = lambda _: None,
) -> Path:  # fmt: skip
    """`source` as a GGUF with its matrices in another type (None: as they are); `change` may alter its arrays."""
    arrays = {name: dequantize(t.data, t.type, t.shape) for name, t in source.tensors.items()}
    change(arrays)
    writer = GGUFWriter()
    for key, value in (dict(source.metadata) | dict(metadata or {})).items():
        writer.add(key, value)
    for name, array in arrays.items():
        own = source.tensors[name].type if name in source.tensors else GGMLType.F32
        stored = (kind or own) if array.ndim == 2 else GGMLType.F32
        writer.add_tensor(name, array.shape, stored, quantize(array, stored))
    writer.write(path)
    return path
