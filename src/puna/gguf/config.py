"""A model's hyperparameters, typed and checked, from GGUF metadata.

Every number is checked when it is read, so that nobody after this need doubt it. Knows no architecture: which
ones can run is for `puna.models`. Keys and defaults: ggml's docs/gguf.md and llama.cpp's llama-model.cpp.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf.keys import Keys, shown
from puna.gguf.model_file import ModelFile, Tensor
from puna.gguf.types import FILE_TYPES

ROPE_SCALING_TYPES = ("none", "linear", "yarn", "longrope", "dynamic")
GUESSED = 1024  # llama.cpp adds it to a file_type it inferred itself
POOLING_TYPES = ("none", "mean", "cls", "last", "rank")  # llama.cpp's, in the order of its numbers
GATINGS = 3  # llama.cpp's expert_gating_func: softmax of all experts, sigmoid, softmax of those chosen
_FRACTIONAL_YARN = ("gpt-oss",)  # GGUF has no key for it


@dataclass(frozen=True, slots=True)
class RopeConfig:
    """Rotary position embedding."""

    dimension_count: int  # leading dimensions of a head that rotate
    freq_base: float
    scaling_type: str  # of ROPE_SCALING_TYPES
    factor: float
    original_context_length: int
    window_freq_base: float = 10000.0  # of layers with a window, where they rotate otherwise
    attention_factor: float = 1.0  # of cosines and sines, beside what the scaling type itself says
    beta_fast: float = 32.0  # YaRN: dimensions that turn more often than this over the original context stay, ...
    beta_slow: float = 1.0  # ... those that turn less often than this are stretched by the factor
    whole_pairs: bool = True  # whether these bounds are widened to whole pairs of dimensions
    log_multiplier: float = 0.0  # by it the factor's logarithm raises attention's scale, not the cosines (DeepSeek)

    def unscaled(self, freq_base: float) -> RopeConfig:
        """The same for the context that the model was first trained for, with another base."""
        return RopeConfig(self.dimension_count, freq_base, "none", 1.0, self.original_context_length)


@dataclass(frozen=True, slots=True)
class ExpertsConfig:
    """A mixture of experts; None is for what the file leaves to the architecture."""

    count: int
    used: int  # by each token
    feed_forward_length: int
    shared_feed_forward_length: int | None  # of experts that every token takes, together
    leading_dense_layers: int  # which have no experts
    gating: int | None  # how logits become weights: llama.cpp's number
    normalise: bool | None  # whether the weights of those used are made to add up to 1
    scale: float  # of the weights
    groups: int
    groups_used: int


@dataclass(frozen=True, slots=True)
class LatentConfig:
    """Multi-head latent attention (DeepSeek-AI 2024): queries, keys and values come from short vectors."""

    query_rank: int | None  # None: queries come from the embedding
    rank: int  # of what keys and values come from
    key_length: int  # of a head, the rotating part included
    value_length: int


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
    norm_epsilon: float  # of RMSNorm or LayerNorm
    rope: RopeConfig
    vocab_size: int
    sliding_window: int | None
    causal: bool  # a token sees those before it only; encoders (BERT and its kin) see the whole text
    pooling: str  # how the tokens' states become one vector: of POOLING_TYPES
    labels: int  # that a model which ranks texts has a score for; 0 of others
    file_type: str
    parameter_count: int
    sliding_layers: tuple[bool, ...] | None = None  # which layers have the window; None: the architecture knows
    attention_scale: float | None = None  # of queries times keys; None: 1 / sqrt(key_length)
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    parallel_residual: bool = True
    experts: ExpertsConfig | None = None
    latent: LatentConfig | None = None

    def window(self, layer: int, *, every: int | None = None) -> int | None:
        """Positions that a layer's rows see; None: all, as in every `every`th layer if the file has no pattern."""
        in_pattern = every is None or layer % every < every - 1
        windowed = self.sliding_layers[layer] if self.sliding_layers else in_pattern
        return self.sliding_window if windowed else None

    @classmethod
    def from_model(cls, file: ModelFile) -> Self:
        """Read and check; InvalidGGUF names the key, UnsupportedModel is for values that vary by layer."""
        architecture = _architecture(file)
        keys = Keys(str(file.path), architecture, file.metadata)
        context_length = keys.integer("context_length")
        embedding_length = keys.integer("embedding_length")
        head_count = keys.integer("attention.head_count")
        head_count_kv = keys.integer("attention.head_count_kv", head_count)
        if head_count % head_count_kv:
            keys.fail("attention.head_count_kv", f"{head_count_kv} does not divide the {head_count} heads")
        key_length = keys.integer("attention.key_length", _head_length(keys, embedding_length, head_count))
        causal = keys.flag("attention.causal", "bert" not in architecture)
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
            norm_epsilon=_norm_epsilon(keys),
            rope=_rope(keys, key_length, context_length),
            vocab_size=_vocab_size(file, keys, embedding_length),
            sliding_window=keys.integer("attention.sliding_window", 0, least=0) or None,
            sliding_layers=_sliding_layers(keys),
            attention_scale=keys.optional_number("attention.scale"),
            attention_softcap=keys.optional_number("attn_logit_softcapping"),
            logit_softcap=keys.optional_number("final_logit_softcapping"),
            embedding_scale=keys.number("embedding_scale", 1.0),
            residual_scale=keys.number("residual_scale", 1.0),
            logit_scale=keys.number("logit_scale", 1.0),
            parallel_residual=keys.flag("use_parallel_residual", True),
            causal=causal,
            pooling=_pooling(keys, causal),
            labels=file.tensors["cls.output.weight"].rows if "cls.output.weight" in file.tensors else 0,
            experts=_experts(keys),
            latent=_latent(keys, key_length),
            file_type=_file_type(file),
            parameter_count=sum(tensor.elements for tensor in file.tensors.values()),
        )


def _architecture(file: ModelFile) -> str:
    value = file.metadata.get("general.architecture")
    if not isinstance(value, str) or not value:
        what = "missing" if value is None else f"{shown(value)} is not a name"
        raise InvalidGGUF(f"{file.path}: general.architecture: {what}")
    return value


def _name(file: ModelFile) -> str:
    value = file.metadata.get("general.name", file.path.stem)
    if not isinstance(value, str):
        raise InvalidGGUF(f"{file.path}: general.name: {shown(value)} is not a string")
    return value


def _head_length(keys: Keys, embedding_length: int, head_count: int) -> int | None:
    """The default of key_length; None when the metadata must give it."""
    if keys.get("attention.key_length") is None and embedding_length % head_count:
        keys.fail("attention.head_count", f"{head_count} does not divide embedding_length, {embedding_length}")
    return embedding_length // head_count or None


def _norm_epsilon(keys: Keys) -> float:
    key, other = "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"
    return keys.number(other if keys.get(key) is None and keys.get(other) is not None else key, below=1.0)


def _experts(keys: Keys) -> ExpertsConfig | None:
    count = keys.integer("expert_count", 0, least=0)
    if not count:
        return None
    used, groups = keys.integer("expert_used_count"), keys.integer("expert_group_count", 1)
    groups_used = keys.integer("expert_group_used_count", groups)
    if groups_used > groups or count % groups or used > count // groups * groups_used:
        keys.fail("expert_used_count", f"{used} of {count} experts in {groups_used} of {groups} groups")
    length = keys.integer("expert_feed_forward_length", keys.integer("feed_forward_length"))
    shared = keys.integer("expert_shared_feed_forward_length", 0, least=0)
    shared = shared or keys.integer("expert_shared_count", 0, least=0) * length
    normalise, gating = keys.get("expert_weights_norm") is not None, keys.integer("expert_gating_func", 0, least=0)
    if gating > GATINGS:
        raise UnsupportedModel(f"{keys.source}: expert_gating_func is {gating}; known are 1 to {GATINGS}")
    return ExpertsConfig(
        count=count,
        used=used,
        feed_forward_length=length,
        shared_feed_forward_length=shared or None,
        leading_dense_layers=keys.integer("leading_dense_block_count", 0, least=0),
        gating=gating or None,
        normalise=keys.flag("expert_weights_norm", False) if normalise else None,
        scale=keys.optional_number("expert_weights_scale") or 1.0,
        groups=groups,
        groups_used=groups_used,
    )


def _latent(keys: Keys, key_length: int) -> LatentConfig | None:
    rank = keys.integer("attention.kv_lora_rank", 0, least=0)
    if not rank:
        return None
    return LatentConfig(
        query_rank=keys.integer("attention.q_lora_rank", 0, least=0) or None,
        rank=rank,
        key_length=keys.integer("attention.key_length_mla", key_length),
        value_length=keys.integer("attention.value_length_mla", keys.integer("attention.value_length", key_length)),
    )


def _sliding_layers(keys: Keys) -> tuple[bool, ...] | None:
    """The pattern as an array, or as a number n: in every n layers all but the last have the window."""
    key = "attention.sliding_window_pattern"
    value, count = keys.get(key), keys.integer("block_count")
    if isinstance(value, np.ndarray):
        if len(value) != count or value.dtype.kind not in "biu":
            keys.fail(key, f"{len(value)} values for {count} layers")
        return tuple(bool(item) for item in value.tolist())
    period = keys.integer(key, 0, least=0)
    return tuple(layer % period < period - 1 for layer in range(count)) if period else None


def _pooling(keys: Keys, causal: bool) -> str:
    """Where an encoder's file says nothing, the mean, as sentence-transformers assumes."""
    number = keys.integer("pooling_type", 0, least=0)
    if number >= len(POOLING_TYPES):
        known = ", ".join(f"{i} ({name})" for i, name in enumerate(POOLING_TYPES))
        raise UnsupportedModel(f"{keys.source}: pooling_type is {number}; known are {known}")
    return "mean" if number == 0 and not causal else POOLING_TYPES[number]


def _rope(keys: Keys, key_length: int, context_length: int) -> RopeConfig:
    dimension_count = keys.integer("rope.dimension_count", key_length)
    if dimension_count > key_length or dimension_count % 2:
        keys.fail("rope.dimension_count", f"{dimension_count} is odd or more than a head's {key_length}")
    # Old files say `rope.scale_linear`; a factor without a type means linear (llama.cpp's default type).
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 1.0))
    kind = keys.text("rope.scaling.type") or ("linear" if factor != 1.0 else "none")
    dynamic = keys.optional_number("rope.scaling.dynamic_factor")  # our own: no key of GGUF's says it
    if dynamic is not None:
        kind, factor = "dynamic", dynamic
    freq_base = keys.number("rope.freq_base", 10000.0)
    if kind == "yarn" and freq_base <= 1:
        keys.fail("rope.freq_base", f"{freq_base} is not above 1, as yarn needs it")
    if kind == "dynamic" and dimension_count < 4:
        keys.fail("rope.dimension_count", f"{dimension_count} is not above 2, as dynamic scaling needs it")
    if kind not in ROPE_SCALING_TYPES:
        raise UnsupportedModel(f"rope scaling of the type {kind!r}; known are {', '.join(ROPE_SCALING_TYPES)}")
    return RopeConfig(
        dimension_count=dimension_count,
        freq_base=freq_base,
        scaling_type=kind,
        factor=1.0 if kind == "none" else factor,
        original_context_length=keys.integer("rope.scaling.original_context_length", context_length),
        window_freq_base=keys.number("rope.freq_base_swa", 10000.0),
        attention_factor=keys.number("rope.scaling.attn_factor", 1.0),
        beta_fast=keys.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=keys.number("rope.scaling.yarn_beta_slow", 1.0),
        whole_pairs=keys.architecture not in _FRACTIONAL_YARN,
        log_multiplier=keys.optional_number("rope.scaling.yarn_log_multiplier") or 0.0,
    )


def _vocab_size(file: ModelFile, keys: Keys, embedding_length: int) -> int:
    """Rows of the token embedding, which the vocabulary must match; without one, the vocabulary's length."""
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    if tokens is not None and (not isinstance(tokens, Sequence) or isinstance(tokens, str | tuple)):
        raise InvalidGGUF(f"{file.path}: tokenizer.ggml.tokens: {shown(tokens)} is not an array of strings")
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
        raise InvalidGGUF(f"{file.path}: general.file_type: {shown(value)} is not a whole number")
    known = None if value is None else FILE_TYPES.get(value & ~GUESSED)
    return known or _most_common_type(file.tensors)


def _most_common_type(tensors: Mapping[str, Tensor]) -> str:
    elements: Counter[str] = Counter()
    for tensor in tensors.values():
        elements[tensor.type.name] += tensor.elements
    return elements.most_common(1)[0][0] if elements else "unknown"
