"""A model's hyperparameters, typed and checked, from GGUF metadata.

Every number is checked when it is read, so that nobody after this need doubt it. Knows no architecture: which
ones can run is for `puna.models`. Keys and defaults: ggml's docs/gguf.md and llama.cpp's llama-model.cpp.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NoReturn, Self

import numpy as np

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf.model_file import ModelFile, Tensor, Value
from puna.gguf.types import FILE_TYPES

ROPE_SCALING_TYPES = ("none", "linear", "yarn", "longrope")
GUESSED = 1024  # llama.cpp adds it to a file_type it inferred itself
_LARGEST = {"block_count": 1 << 14, "attention.head_count": 1 << 14, "attention.head_count_kv": 1 << 14}
_MAX_INT = 1 << 30


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary position embedding."""

    dimension_count: int  # leading dimensions of a head that rotate
    freq_base: float
    scaling_type: str  # none, linear, yarn, longrope
    factor: float
    original_context_length: int


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Hyperparameters under GGUF's names, plus what the tensors tell."""

    architecture: str
    name: str
    context_length: int
    embedding_length: int
    block_count: int
    feed_forward_length: int
    head_count: int
    head_count_kv: int
    key_length: int
    value_length: int
    layer_norm_rms_epsilon: float
    rope: RopeConfig
    vocab_size: int
    sliding_window: int | None
    file_type: str
    parameter_count: int

    @classmethod
    def from_model(cls, file: ModelFile) -> Self:
        """Read and check; InvalidGGUF names the key, UnsupportedModel is for values that vary by layer."""
        architecture = _architecture(file)
        keys = _Keys(str(file.path), architecture, file.metadata)
        context_length = keys.integer("context_length")
        embedding_length = keys.integer("embedding_length")
        head_count = keys.integer("attention.head_count")
        head_count_kv = keys.integer("attention.head_count_kv", head_count)
        if head_count % head_count_kv:
            keys.fail("attention.head_count_kv", f"{head_count_kv} does not divide the {head_count} heads")
        key_length = keys.integer("attention.key_length", _head_length(keys, embedding_length, head_count))
        return cls(
            architecture=architecture,
            name=_name(file),
            context_length=context_length,
            embedding_length=embedding_length,
            block_count=keys.integer("block_count"),
            feed_forward_length=keys.integer("feed_forward_length"),
            head_count=head_count,
            head_count_kv=head_count_kv,
            key_length=key_length,
            value_length=keys.integer("attention.value_length", key_length),
            layer_norm_rms_epsilon=_rms_epsilon(keys),
            rope=_rope(keys, key_length, context_length),
            vocab_size=_vocab_size(file, keys, embedding_length),
            sliding_window=keys.integer("attention.sliding_window", 0, least=0) or None,
            file_type=_file_type(file),
            parameter_count=sum(tensor.elements for tensor in file.tensors.values()),
        )


class _Keys:
    """Typed access to one architecture's metadata."""

    def __init__(self, source: str, architecture: str, metadata: Mapping[str, Value]) -> None:
        self.source = source
        self._prefix = f"{architecture}."
        self._metadata = metadata

    def fail(self, key: str, reason: str) -> NoReturn:
        raise InvalidGGUF(f"{self.source}: {self._prefix}{key}: {reason}")

    def get(self, key: str) -> Value | None:
        return self._metadata.get(self._prefix + key)

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number in [least, what is sensible for the key]; an array of them if all are equal."""
        value = self.get(key)
        if isinstance(value, np.ndarray):
            value = self._same_for_all_layers(key, value.tolist())
        if value is None:
            if default is None:
                self.fail(key, "missing")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, f"{_shown(value)} is not a whole number")
        most = _LARGEST.get(key, _MAX_INT)
        if not least <= value <= most:
            self.fail(key, f"{value} is not between {least} and {most}")
        return value

    def number(self, key: str, default: float | None = None, *, below: float = float("inf")) -> float:
        """A finite number in (0, below)."""
        value = self.get(key)
        if value is None:
            if default is None:
                self.fail(key, "missing")
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(key, f"{_shown(value)} is not a number")
        if not (isfinite(value) and 0 < value < below):
            self.fail(key, f"{value} is not a positive number" + (f" below {below:g}" if isfinite(below) else ""))
        return float(value)

    def text(self, key: str) -> str | None:
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            self.fail(key, f"{_shown(value)} is not a string")
        return value

    def _same_for_all_layers(self, key: str, values: list[int | float | bool]) -> int | float | bool:
        if not values:
            self.fail(key, "an empty array")
        if any(value != values[0] for value in values):
            raise UnsupportedModel(
                f"{self.source}: {self._prefix}{key} differs from layer to layer ({sorted(set(values))}); "
                "models whose layers are not alike cannot be run yet"
            )
        return values[0]


def _shown(value: Value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _architecture(file: ModelFile) -> str:
    value = file.metadata.get("general.architecture")
    if not isinstance(value, str) or not value:
        what = "missing" if value is None else f"{_shown(value)} is not a name"
        raise InvalidGGUF(f"{file.path}: general.architecture: {what}")
    return value


def _name(file: ModelFile) -> str:
    value = file.metadata.get("general.name", file.path.stem)
    if not isinstance(value, str):
        raise InvalidGGUF(f"{file.path}: general.name: {_shown(value)} is not a string")
    return value


def _head_length(keys: _Keys, embedding_length: int, head_count: int) -> int | None:
    """The default of key_length; None when the metadata must give it."""
    if keys.get("attention.key_length") is None and embedding_length % head_count:
        keys.fail("attention.head_count", f"{head_count} does not divide embedding_length, {embedding_length}")
    return embedding_length // head_count or None


def _rms_epsilon(keys: _Keys) -> float:
    key, other = "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"
    if keys.get(key) is None and keys.get(other) is not None:
        raise UnsupportedModel(f"{keys.source}: has {other} and no {key}: only RMS normalisation is supported yet")
    return keys.number(key, below=1.0)


def _rope(keys: _Keys, key_length: int, context_length: int) -> RopeConfig:
    dimension_count = keys.integer("rope.dimension_count", key_length)
    if dimension_count > key_length or dimension_count % 2:
        keys.fail("rope.dimension_count", f"{dimension_count} is odd or more than a head's {key_length}")
    # Old files say `rope.scale_linear`; a factor without a type means linear (llama.cpp's default type).
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 1.0))
    kind = keys.text("rope.scaling.type") or ("linear" if factor != 1.0 else "none")
    if kind not in ("none", "linear", "yarn", "longrope"):
        raise UnsupportedModel(f"rope scaling of the type {kind!r}; known are none, linear, yarn and longrope")
    return RopeConfig(
        dimension_count=dimension_count,
        freq_base=keys.number("rope.freq_base", 10000.0),
        scaling_type=kind,
        factor=1.0 if kind == "none" else factor,
        original_context_length=keys.integer("rope.scaling.original_context_length", context_length),
    )


def _vocab_size(file: ModelFile, keys: _Keys, embedding_length: int) -> int:
    """Rows of the token embedding, which the vocabulary must match; without one, the vocabulary's length."""
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if tokens is not None and (not isinstance(tokens, Sequence) or isinstance(tokens, str | tuple)):
        raise InvalidGGUF(f"{file.path}: tokenizer.ggml.tokens: {_shown(tokens)} is not an array of strings")
    count = None if tokens is None else len(tokens)
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        return keys.integer("vocab_size", count)
    if len(embedding.shape) != 2 or embedding.shape[1] != embedding_length:
        keys.fail("embedding_length", f"{embedding_length}, but token_embd.weight has the shape {embedding.shape}")
    rows = embedding.shape[0]
    if count is not None and count != rows:
        raise InvalidGGUF(f"{file.path}: tokenizer.ggml.tokens: {count} tokens, but token_embd.weight has {rows} rows")
    return rows


def _file_type(file: ModelFile) -> str:
    """`general.file_type`, or the type that holds most of the model's numbers."""
    value = file.metadata.get("general.file_type")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise InvalidGGUF(f"{file.path}: general.file_type: {_shown(value)} is not a whole number")
    known = None if value is None else FILE_TYPES.get(value & ~GUESSED)
    return known or _most_common_type(file.tensors)


def _most_common_type(tensors: Mapping[str, Tensor]) -> str:
    elements: Counter[str] = Counter()
    for tensor in tensors.values():
        elements[tensor.type.name] += tensor.elements
    return elements.most_common(1)[0][0] if elements else "unknown"
