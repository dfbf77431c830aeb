"""All that a model's file says of itself, as values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from puna.gguf import ModelFile, Value, open_model
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
    """Read the header. Arrays of more than LONG values are empty unless `verbose`.

    Raises:
        InvalidGGUF, UnsupportedModel: as `open_model`.
    """
    with open_model(model.path) as file:
        tensors = file.tensors.values()
        return Description(
            _metadata(file, verbose),
            tuple(TensorInfo(each.name, each.type.name, tuple(reversed(each.shape))) for each in tensors),
        )


def metadata_of(path: Path, *, verbose: bool = False) -> Mapping[str, object]:
    """The metadata alone, of any GGUF: a projector is no model of its own. As `describe`."""
    with open_model(path) as file:
        return _metadata(file, verbose)


def _metadata(file: ModelFile, verbose: bool) -> dict[str, object]:
    metadata = {key: _plain(value, verbose) for key, value in file.metadata.items()}
    metadata.setdefault("general.parameter_count", sum(tensor.elements for tensor in file.tensors.values()))
    return metadata


def _plain(value: Value, verbose: bool) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist() if verbose or value.size <= LONG else []
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item, verbose) for item in value] if verbose or len(value) <= LONG else []
    return value
