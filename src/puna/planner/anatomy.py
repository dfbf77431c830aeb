"""What a model is made of, as far as its cost goes: matrices, attention, layers. Read from a header alone.

Any decoder that GGUF can describe is read, also those that no engine of ours runs: what a token is multiplied with is
told by the tensors themselves (gated or not, merged or not, experts), what it attends to by the hyperparameters.
Knows no device and no costs. Keys: ggml's docs/gguf.md and llama.cpp's llama-model.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from puna.errors import InvalidGGUF
from puna.gguf import GGMLType, ModelFile, Tensor, Value

MOST_LAYERS = 1 << 14
MOST = 1 << 30  # of any other hyperparameter

EMBEDDING = "token_embd.weight"
HEAD = "output.weight"

# Tables whose rows are looked up, and filters that are no products of matrices.
_NOT_MULTIPLIED = re.compile(
    r"token_embd\.weight|per_layer_token_embd\.weight|position_embd\.weight|token_types\.weight|rope_.*"
    r"|blk\.\d+\.(?:ssm_(?:a|conv1d.*)|attn_rel_b.*|shortconv\.conv.*)"
)
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")
_AFTER_ATTENTION = re.compile(r"blk\.\d+\.(?:attn_output|ffn_)")
_EXPERTS = re.compile(r"_exps\.weight$")

# Of how many layers in turn all but the last see a window only (llama.cpp's set_swa_pattern); others: every layer.
_WINDOW_PERIODS = {
    "gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2, "exaone4": 4, "olmo2": 4, "llama4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix that tokens are multiplied with; one for each expert, where there are experts."""

    name: str
    layer: int | None  # None: before or after the layers
    rows: int
    columns: int
    copies: int  # experts, or heads that have one each
    type: GGMLType
    used: int  # of the copies, by one token

    @property
    def follows_attention(self) -> bool:
        """Whether it is multiplied with what the attention of its layer gave, or with what comes after."""
        return bool(_AFTER_ATTENTION.match(self.name))

    @property
    def elements(self) -> int:
        """Weights, of all copies."""
        return self.rows * self.columns * self.copies

    @property
    def active(self) -> int:
        """Weights that one token is multiplied with."""
        return self.rows * self.columns * self.used

    @property
    def nbytes(self) -> int:
        """Bytes in the file, of all copies."""
        return self.type.nbytes((self.copies, self.rows, self.columns))


@dataclass(frozen=True, slots=True)
class Attention:
    """Attention of one layer."""

    heads: int
    key: int  # length of a head's query and key
    value: int
    cached: int  # numbers kept of each position: keys and values, or the latent vector they are made of
    window: int | None  # positions that a token sees, itself included


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A model."""

    name: str
    architecture: str
    context_length: int  # trained, tokens
    embedding_length: int
    feed_forward_length: int  # of one expert, where there are experts
    vocab_size: int
    causal: bool
    matrices: tuple[Matrix, ...]  # all but the head, in layers and outside
    head: Matrix | None  # gives the logits; the table of embeddings where the two are tied
    embedding: Tensor | None
    attention: tuple[Attention | None, ...]  # by layer; None: the layer has another mixer
    experts: int
    experts_used: int
    vector_elements: int  # norms, biases and what else is no matrix
    parameters: int
    file_bytes: int  # of the tensors

    @property
    def layers(self) -> int:
        """Layers."""
        return len(self.attention)

    @property
    def cached_per_token(self) -> int:
        """Numbers that a position adds to the KV cache, windows aside; an encoder keeps none."""
        return self.causal * sum(layer.cached for layer in self.attention if layer)

    @property
    def active_parameters(self) -> int:
        """Weights that one token is multiplied with, the head included."""
        head = self.head.active if self.head else 0
        return head + sum(matrix.active for matrix in self.matrices)


def anatomy_of(file: ModelFile) -> Anatomy:
    """Read a header.

    Raises:
        InvalidGGUF: a hyperparameter is missing, or makes no sense; the message names it.
    """
    keys = _Keys(file)
    layers = keys.integer("block_count", most=MOST_LAYERS)
    width = keys.integer("embedding_length")
    experts, used = keys.integer("expert_count", 0, least=0), keys.integer("expert_used_count", 0, least=0)
    if used > experts or (experts and not used):
        keys.fail("expert_used_count", f"{used} of {experts} experts")
    matrices, vectors = _matrices(file.tensors, layers, experts, used, keys)
    causal = file.metadata.get(f"{keys.architecture}.attention.causal") is not False
    name = file.metadata.get("general.name", file.path.stem)
    return Anatomy(
        name=name if isinstance(name, str) else file.path.stem,
        architecture=keys.architecture,
        context_length=keys.integer("context_length"),
        embedding_length=width,
        feed_forward_length=max(keys.each("feed_forward_length", layers, 0, least=0)),
        vocab_size=_vocabulary(file, keys),
        causal=causal,
        matrices=tuple(matrix for matrix in matrices if matrix.name != HEAD),
        head=_head(file, matrices) if causal else None,
        embedding=file.tensors.get(EMBEDDING),
        attention=_attention(keys, layers, width),
        experts=experts,
        experts_used=used,
        vector_elements=vectors,
        parameters=sum(tensor.elements for tensor in file.tensors.values()),
        file_bytes=sum(tensor.nbytes for tensor in file.tensors.values()),
    )


class _Keys:
    """Whole numbers of one architecture's metadata: one, or one for each layer."""

    def __init__(self, file: ModelFile) -> None:
        architecture = file.metadata.get("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise InvalidGGUF(f"{file.path}: general.architecture is missing: no model that could be planned for")
        self.architecture = architecture
        self._file = file

    def fail(self, key: str, reason: str) -> NoReturn:
        raise InvalidGGUF(f"{self._file.path}: {self.architecture}.{key}: {reason}")

    def get(self, key: str) -> Value | None:
        return self._file.metadata.get(f"{self.architecture}.{key}")

    def integer(self, key: str, default: int | None = None, *, least: int = 1, most: int = MOST) -> int:
        """Of an array the largest."""
        value = self.get(key)
        values = list(value.tolist()) if isinstance(value, np.ndarray) else [default if value is None else value]
        return max(self._checked(key, values, least, most))

    def each(self, key: str, layers: int, default: int | None = None, *, least: int = 1) -> list[int]:
        """One for each layer."""
        value = self.get(key)
        if isinstance(value, np.ndarray):
            if len(value) != layers:
                self.fail(key, f"{len(value)} values for {layers} layers")
            return self._checked(key, value.tolist(), 0, MOST)
        return self._checked(key, [default if value is None else value], least, MOST) * layers

    def _checked(self, key: str, values: Sequence[object], least: int, most: int) -> list[int]:
        if not values:
            self.fail(key, "an empty array")
        out = []
        for value in values:
            if value is None:
                self.fail(key, "missing")
            if isinstance(value, bool) or not isinstance(value, int):
                self.fail(key, f"{value!r:.60} is not a whole number")
            if not least <= value <= most:
                self.fail(key, f"{value} is not between {least} and {most}")
            out.append(value)
        return out


def _matrices(
    tensors: Mapping[str, Tensor], layers: int, experts: int, used: int, keys: _Keys
) -> tuple[list[Matrix], int]:
    """The matrices, and the elements of all else."""
    found, rest = [], 0
    for tensor in tensors.values():
        if len(tensor.shape) == 1 or (_NOT_MULTIPLIED.fullmatch(tensor.name)):
            rest += tensor.elements if len(tensor.shape) == 1 else 0
            continue
        layer = _LAYER.fullmatch(tensor.name)
        if layer and int(layer[1]) >= layers:
            continue  # of layers that only predict further tokens
        of_experts = bool(_EXPERTS.search(tensor.name)) and len(tensor.shape) > 2
        if of_experts and tensor.rows // tensor.shape[-2] != experts:
            keys.fail("expert_count", f"{experts}, but {tensor.name} has the shape {tensor.shape}")
        copies = tensor.rows // tensor.shape[-2]
        number = int(layer[1]) if layer else None
        rows, columns = tensor.shape[-2:]
        found.append(Matrix(tensor.name, number, rows, columns, copies, tensor.type, used if of_experts else copies))
    if not found:
        raise InvalidGGUF(f"a model of the architecture {keys.architecture} without a single matrix")
    return found, rest


def _head(file: ModelFile, matrices: Sequence[Matrix]) -> Matrix | None:
    own = next((matrix for matrix in matrices if matrix.name == HEAD), None)
    table = file.tensors.get(EMBEDDING)
    if own is not None or table is None or len(table.shape) != 2:
        return own
    return Matrix(EMBEDDING, None, *table.shape, copies=1, type=table.type, used=1)


def _vocabulary(file: ModelFile, keys: _Keys) -> int:
    table = file.tensors.get(EMBEDDING)
    return table.rows if table is not None else keys.integer("vocab_size", 0, least=0)


def _attention(keys: _Keys, layers: int, width: int) -> tuple[Attention | None, ...]:
    heads = keys.each("attention.head_count", layers)
    kv_heads = keys.each("attention.head_count_kv", layers, max(heads))
    if keys.get("attention.key_length") is None and any(width % count for count in heads if count):
        keys.fail("attention.head_count", f"{max(heads)} does not divide embedding_length, {width}")
    key = keys.integer("attention.key_length", width // max(*heads, 1) or 1)
    value = keys.integer("attention.value_length", key)
    latent = keys.integer("attention.kv_lora_rank", 0, least=0)
    if latent:  # multi-head latent attention (DeepSeek-V2): one vector and a rotated key, shared by all heads
        cached = latent + keys.integer("rope.dimension_count")
        key = keys.integer("attention.key_length_mla", key)
        value = keys.integer("attention.value_length_mla", value)
    windows = _windows(keys, layers)
    return tuple(
        Attention(heads[i], key, value, cached if latent else kv_heads[i] * (key + value), windows[i])
        if heads[i] and kv_heads[i]
        else None
        for i in range(layers)
    )


def _windows(keys: _Keys, layers: int) -> list[int | None]:
    window = keys.integer("attention.sliding_window", 0, least=0) or None
    pattern = keys.get("attention.sliding_window_pattern")
    if isinstance(pattern, np.ndarray) and len(pattern) == layers:
        return [window if flag else None for flag in pattern.tolist()]
    period = pattern if isinstance(pattern, int) and pattern > 0 else _WINDOW_PERIODS.get(keys.architecture, 0)
    return [window if not period or i % period < period - 1 else None for i in range(layers)]
