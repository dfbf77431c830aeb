"""All that a model's file says of itself, as values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from puna.gguf import ModelConfig, Value, open_model
from puna.store.store import LocalModel

LONG = 5  # an array with more values is left out unless asked for


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of the file."""

    name: str
    type: str  # GGUF's name of it: F32, Q4_0, ...
    shape: tuple[int, ...]  # in GGUF's order: the fastest dimension first


@dataclass(frozen=True, slots=True)
class Description:
    """Metadata and tensors of a model file."""

    metadata: Mapping[str, object]
    tensors: tuple[TensorInfo, ...]


def describe(model: LocalModel, *, verbose: bool = False) -> Description:
    """Read the header. Arrays of more than LONG values are empty and tensors are left out unless `verbose`.

    Raises:
        InvalidGGUF, UnsupportedModel: as `open_model`.
    """
    with open_model(model.path) as file:
        metadata = {key: _plain(value, verbose) for key, value in file.metadata.items()}
        metadata.setdefault("general.parameter_count", ModelConfig.from_model(file).parameter_count)
        tensors = file.tensors.values() if verbose else ()
        return Description(
            metadata,
            tuple(TensorInfo(each.name, each.type.name, tuple(reversed(each.shape))) for each in tensors),
        )


def _plain(value: Value, verbose: bool) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist() if verbose or value.size <= LONG else []
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item, verbose) for item in value] if verbose or len(value) <= LONG else []
    return value
