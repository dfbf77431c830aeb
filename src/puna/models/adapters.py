"""LoRA adapters (Hu et al. 2021): W x + s B (A x), for those rows of a step that have chosen an adapter.

Several are held at once, as stacks of narrow matrices: rows are put together by adapter and multiplied as those of
experts are. Part 0 of each stack is zero: of the rows that have chosen none. The base weights are neither changed nor
copied. Knows no architecture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import ModelConfig, ModelFile, dequantize, open_model
from puna.gguf.huggingface import open_peft
from puna.gguf.model_file import Tensor

Floats = NDArray[np.float32]

_A, _B = ".lora_a", ".lora_b"


@dataclass(frozen=True, slots=True)
class LowRank:
    """What is added to one matrix: b (rows, rank), the scale within, times a (rank, columns); float32."""

    a: Floats
    b: Floats


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter: what it adds, by the tensor's name."""

    name: str
    added: Mapping[str, LowRank]

    def digest(self) -> bytes:
        """32 bytes that tell what it adds."""
        digest = blake2b(digest_size=32)
        for name, low in self.added.items():
            digest.update(f"{name}\0{low.a.shape}{low.b.shape}\0".encode() + low.a.tobytes() + low.b.tobytes())
        return digest.digest()


def open_adapter(path: Path, base: ModelConfig) -> Adapter:
    """Read the adapter of a GGUF file or a PEFT folder; raises what opening files does, and `read_adapter`."""
    with open_peft(path, base) if path.is_dir() else open_model(path) as file:
        return read_adapter(file, base.architecture)


def read_adapter(file: ModelFile, architecture: str) -> Adapter:
    """Read an adapter of a model of that architecture; its file may be closed afterwards.

    Format: llama.cpp's GGUF of adapters (`adapter.type` lora; X.lora_a and X.lora_b of each tensor X). Raises
    UnsupportedModel for other adapters and other models', InvalidGGUF for damaged ones.
    """
    known = file.metadata.get("general.type"), file.metadata.get("adapter.type")
    if known != ("adapter", "lora"):
        raise UnsupportedModel(f"{file.path}: no LoRA adapter: general.type and adapter.type are {known}")
    made_for = file.metadata.get("general.architecture")
    if made_for != architecture:
        raise UnsupportedModel(f"{file.path}: an adapter of {made_for!r:.40}, and the model is {architecture}")
    alpha = file.metadata.get("adapter.lora.alpha", 0.0)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not np.isfinite(alpha):
        raise InvalidGGUF(f"{file.path}: adapter.lora.alpha: {alpha!r:.40} is not a number")
    names = {name.removesuffix(_A).removesuffix(_B) for name in file.tensors}
    return Adapter(str(file.path), {name: _low_rank(file, name, float(alpha)) for name in sorted(names)})


def _low_rank(file: ModelFile, name: str, alpha: float) -> LowRank:
    pair = file.tensors.get(name + _A), file.tensors.get(name + _B)
    if pair[0] is None or pair[1] is None:
        raise InvalidGGUF(f"{file.path}: of {name!r:.120} there is not both {_A} and {_B}")
    a, b = _values(pair[0]), _values(pair[1])
    if a.ndim != 2 or b.ndim != 2 or len(a) != b.shape[1]:
        raise InvalidGGUF(f"{file.path}: {name}: {a.shape} and {b.shape} do not make a matrix")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InvalidGGUF(f"{file.path}: {name}: not all numbers are finite")
    scale = np.float32(alpha / len(a) if alpha else 1.0)
    return LowRank(a, b * scale)


def _values(tensor: Tensor) -> Floats:
    return dequantize(tensor.data, tensor.type, tensor.shape)


@dataclass(frozen=True, slots=True)
class Stacks:
    """The matrices of all adapters for one tensor: a (adapters + 1, rank, columns), b (adapters + 1, rows, rank)."""

    a: Floats
    b: Floats


def stack(adapters: Sequence[Adapter], name: str, shape: tuple[int, ...], order: NDArray[np.int32] | None) -> Stacks:
    """Those of the tensor of that name and shape, its rows in that order; narrower ones are filled up with zeros."""
    found = [(part, adapter.added[name]) for part, adapter in enumerate(adapters, 1) if name in adapter.added]
    if len(shape) != 2:
        raise UnsupportedModel(f"{adapters[found[0][0] - 1].name}: adapters of experts ({name}) are not supported")
    for part, low in found:
        if (len(low.b), low.a.shape[1]) != shape:
            made = (len(low.b), low.a.shape[1])
            raise InvalidGGUF(f"{adapters[part - 1].name}: {name} is {shape} in the model, {made} in the adapter")
    rows = np.arange(shape[0]) if order is None else order
    rank = _padded(max(len(low.a) for _, low in found))
    a = np.zeros((len(adapters) + 1, rank, shape[1]), np.float32)
    b = np.zeros((len(adapters) + 1, len(rows), rank), np.float32)
    for part, low in found:
        a[part, : len(low.a)], b[part, :, : len(low.a)] = low.a, low.b[rows]
    return Stacks(a, b)


def stacked_bytes(files: Iterable[ModelFile]) -> int:
    """Memory that `stack` takes for the adapters of these files, as their headers have it."""
    shapes = [{name: each.shape for name, each in file.tensors.items() if len(each.shape) == 2} for file in files]
    total = 0
    for name in {name for shape in shapes for name in shape if name.endswith(_A)}:
        rank = _padded(max(shape[name][0] for shape in shapes if name in shape))
        other = name.removesuffix(_A) + _B
        widths = [shape[name][-1] + shape[other][0] for shape in shapes if name in shape and other in shape]
        total += (len(shapes) + 1) * rank * max(widths, default=0) * 4
    return total


def _padded(rank: int) -> int:
    return -(-rank // 16) * 16
