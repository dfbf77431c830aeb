"""Hyperparameters: from config.json's keys to GGUF's, and rope scaling to what the engine takes.

Follows llama.cpp's convert_hf_to_gguf.py in what becomes of each key. Knows nothing of tensors or tokenizers.
"""

from __future__ import annotations

from math import pi

import numpy as np
from numpy.typing import NDArray

from puna.errors import UnsupportedModel
from puna.gguf.huggingface.architectures import Architecture
from puna.gguf.huggingface.settings import Settings
from puna.gguf.model_file import Value

# GGUF key after the architecture: key in config.json
_INTEGERS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "vocab_size": "vocab_size",
}

# What transformers assumes for YaRN where the file says nothing; llama.cpp has these built in.
_YARN_DEFAULTS = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}
_YARN_KEYS = frozenset(("rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings"))


def hyperparameters(config: Settings, architecture: Architecture) -> dict[str, Value]:
    """GGUF metadata of the architecture; raises InvalidGGUF or UnsupportedModel naming the key."""
    _refuse_unknown_arithmetic(config)
    values: dict[str, Value] = {key: config.integer(name) for key, name in _INTEGERS.items()}
    heads = config.integer("num_attention_heads")
    values["attention.head_count_kv"] = config.integer("num_key_value_heads", heads)
    length = head_length(config)
    values["attention.key_length"] = length
    values["attention.value_length"] = length
    values["rope.dimension_count"] = length
    values["attention.layer_norm_rms_epsilon"] = _single(config.number("rms_norm_eps", 1e-6))
    values |= _rope(config)
    if _has_window(config, architecture):
        values["attention.sliding_window"] = config.integer("sliding_window")
    return {f"{architecture.name}.{key}": value for key, value in values.items()}


def head_length(config: Settings) -> int:
    """Elements of one attention head."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    if config.get("head_dim") is None and hidden % heads:
        config.fail("num_attention_heads", f"{heads} does not divide hidden_size, {hidden}")
    return config.integer("head_dim", hidden // heads or None)


def rope_frequency_factors(config: Settings) -> NDArray[np.float32] | None:
    """Llama 3.1's scaling as the divisors of the rope frequencies (GGUF's rope_freqs.weight), or None.

    Wavelengths below original / high_freq_factor are kept, above original / low_freq_factor stretched by
    `factor`; between, the frequency is mixed linearly in original / wavelength.
    """
    scaling = _scaling(config)
    if _scaling_type(scaling) != "llama3":
        return None
    factor, original = scaling.number("factor"), scaling.integer("original_max_position_embeddings")
    low, high = scaling.number("low_freq_factor"), scaling.number("high_freq_factor")
    if low >= high:
        scaling.fail("low_freq_factor", f"{low:g} is not below high_freq_factor, {high:g}")
    length = head_length(config)
    wavelength = 2 * pi * _base(config) ** (np.arange(0, length, 2, dtype=np.float64) / length)
    mix = ((original / wavelength - low) / (high - low)).clip(0, 1)
    divisors: NDArray[np.float32] = (1 / ((1 - mix) / factor + mix)).astype(np.float32)
    return divisors


def _rope(config: Settings) -> dict[str, Value]:
    scaling = _scaling(config)
    kind = _scaling_type(scaling)
    values: dict[str, Value] = {"rope.freq_base": _single(_base(config))}
    if kind in ("linear", "yarn"):
        values |= {"rope.scaling.type": kind, "rope.scaling.factor": _single(scaling.number("factor"))}
    if kind == "yarn":
        _refuse_unusual_yarn(scaling)
        context = config.integer("max_position_embeddings")
        original = scaling.integer("original_max_position_embeddings", context)
        values["rope.scaling.original_context_length"] = original
    return values


def _scaling(config: Settings) -> Settings:
    """`rope_parameters` since transformers 5, `rope_scaling` before."""
    scaling = config.section("rope_parameters" if config.get("rope_parameters") is not None else "rope_scaling")
    if any(isinstance(value, dict) for value in scaling.values.values()):
        raise UnsupportedModel(f"{scaling.source}: rope that differs between kinds of layers is not supported")
    return scaling


def _base(config: Settings) -> float:
    return _scaling(config).number("rope_theta", config.number("rope_theta", 10000.0))


def _scaling_type(scaling: Settings) -> str:
    kind = scaling.text("rope_type") or scaling.text("type") or "default"
    if kind not in ("default", "linear", "llama3", "yarn"):
        raise UnsupportedModel(
            f"{scaling.source}: rope scaling of the type {kind!r:.40}; known are linear, llama3 and yarn"
        )
    return kind


def _refuse_unusual_yarn(scaling: Settings) -> None:
    for key, value in scaling.values.items():
        if key not in _YARN_KEYS and value is not None and value != _YARN_DEFAULTS.get(key):
            raise UnsupportedModel(f"{scaling.source}: {key!r:.40} = {value!r:.40} is not supported for yarn")


def _refuse_unknown_arithmetic(config: Settings) -> None:
    """What changes the forward pass and has no place in GGUF."""
    activation = config.text("hidden_act") or "silu"
    if activation not in ("silu", "swish"):
        raise UnsupportedModel(f"{config.source}: hidden_act {activation!r:.40}; only silu is known")
    if config.flag("mlp_bias", False):
        raise UnsupportedModel(f"{config.source}: mlp_bias: biases in the feed-forward network are not supported")
    if any(part.number("partial_rotary_factor", 1.0) != 1.0 for part in (config, _scaling(config))):
        raise UnsupportedModel(f"{config.source}: partial_rotary_factor: rotating part of a head is not supported")
    quantization = config.section("quantization_config")
    if quantization.values:
        method = quantization.get("quant_method")
        raise UnsupportedModel(
            f"{config.source}: weights quantised by {method!r:.40}; get the model as GGUF, or unquantised"
        )


def _has_window(config: Settings, architecture: Architecture) -> bool:
    """Whether every layer has the window; a window in some of them is refused, as GGUF cannot say it."""
    if architecture.sliding_window:
        return config.get("sliding_window") is not None
    kinds = config.get("layer_types")
    if config.flag("use_sliding_window", False) or (isinstance(kinds, list) and "sliding_attention" in kinds):
        raise UnsupportedModel(f"{config.source}: use_sliding_window: a window in some layers is not supported")
    return False


def _single(value: float) -> float:
    """GGUF stores these as float32."""
    return float(np.float32(value))
