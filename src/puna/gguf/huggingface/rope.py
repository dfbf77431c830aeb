"""Rotary positions: from config.json's keys to GGUF's, and the tensors of factors that some scaling needs.

Follows llama.cpp's converter in what becomes of each key. Knows nothing of how angles are computed.
"""

from __future__ import annotations

from math import isclose, log, pi, sqrt

import numpy as np
from numpy.typing import NDArray

from puna.errors import UnsupportedModel
from puna.gguf.huggingface.architecture import Architecture
from puna.gguf.huggingface.heads import head_length
from puna.gguf.huggingface.settings import Settings, single
from puna.gguf.model_file import Value

SCALING_TYPES = ("default", "linear", "dynamic", "yarn", "longrope", "llama3")

# What transformers assumes for YaRN where the file says nothing; llama.cpp has these built in.
_YARN_DEFAULTS = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}
_YARN_KEYS = frozenset(
    ("rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "partial_rotary_factor")
) | {"attention_factor"}


def rope_keys(config: Settings, architecture: Architecture) -> dict[str, Value]:
    """rope.dimension_count, .freq_base and .scaling.*; nothing where no positions rotate."""
    if not architecture.rotates:
        return {}
    scaling = _scaling(config)
    kind = _scaling_type(scaling)
    values: dict[str, Value] = {
        "rope.dimension_count": rotated(config),
        "rope.freq_base": float(np.float32(_base(config))),
    }
    if kind in ("linear", "yarn"):
        values |= {"rope.scaling.type": kind, "rope.scaling.factor": single(scaling.number("factor"))}
    if kind == "dynamic":  # our own key: for other readers the positions it was trained for, which it leaves alone
        values["rope.scaling.dynamic_factor"] = single(scaling.number("factor"))
    if kind == "yarn":
        _refuse_unusual_yarn(scaling)
        values["rope.scaling.original_context_length"] = _original_context(config, scaling)
    if kind == "longrope":
        values |= _longrope(config, scaling)
    return values


def rotated(config: Settings) -> int:
    """Leading elements of a head that rotate."""
    scaling = _scaling(config)
    share = scaling.number("partial_rotary_factor", config.number("partial_rotary_factor", 1.0))
    return int(share * head_length(config))


def rope_factors(config: Settings, architecture: Architecture) -> dict[str, NDArray[np.float32]]:
    """GGUF's tensors of divisors of the frequencies, by name."""
    scaling = _scaling(config)
    kind = _scaling_type(scaling)
    if not architecture.rotates or kind not in ("llama3", "longrope"):
        return {}
    if kind == "llama3":
        return {"rope_freqs.weight": _llama3_factors(config, scaling)}
    return {f"rope_factors_{which}.weight": _listed_factors(config, scaling, which) for which in ("long", "short")}


def _llama3_factors(config: Settings, scaling: Settings) -> NDArray[np.float32]:
    """Llama 3.1's: wavelengths below original / high_freq_factor are kept, above original / low_freq_factor stretched
    by `factor`; between, the frequency is mixed linearly in original / wavelength.
    """
    factor, original = scaling.number("factor"), scaling.integer("original_max_position_embeddings")
    low, high = scaling.number("low_freq_factor"), scaling.number("high_freq_factor")
    if low >= high:
        scaling.fail("low_freq_factor", f"{low:g} is not below high_freq_factor, {high:g}")
    length = rotated(config)
    wavelength = 2 * pi * _base(config) ** (np.arange(0, length, 2, dtype=np.float64) / length)
    mix = ((original / wavelength - low) / (high - low)).clip(0, 1)
    divisors: NDArray[np.float32] = (1 / ((1 - mix) / factor + mix)).astype(np.float32)
    return divisors


def _listed_factors(config: Settings, scaling: Settings, which: str) -> NDArray[np.float32]:
    """LongRoPE's, as they stand in the file."""
    listed, half = scaling.get(f"{which}_factor"), rotated(config) // 2
    numbers = isinstance(listed, list) and all(type(item) in (int, float) and 0 < item < 1e9 for item in listed)
    if not numbers or len(listed) != half:
        scaling.fail(f"{which}_factor", f"not a list of {half} positive numbers")
    return np.array(listed, np.float32)


def _longrope(config: Settings, scaling: Settings) -> dict[str, Value]:
    """The factor of cosines and sines is that of the paper, unless the file has another."""
    original = _original_context(config, scaling)
    if original < 2:
        scaling.fail("original_max_position_embeddings", f"{original} is not above 1")
    stretch = config.integer("max_position_embeddings") / original
    factor = sqrt(1 + log(stretch) / log(original)) if stretch > 1 else 1.0
    return {
        "rope.scaling.original_context_length": original,
        "rope.scaling.attn_factor": single(scaling.number("attention_factor", factor)),
    }


def _original_context(config: Settings, scaling: Settings) -> int:
    """Beside the scaling or in it."""
    context = config.integer("max_position_embeddings")
    known = config.integer("original_max_position_embeddings", context)
    return scaling.integer("original_max_position_embeddings", known)


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
    kind = {"su": "longrope"}.get(kind, kind)  # its first name
    if kind not in SCALING_TYPES:
        known = ", ".join(SCALING_TYPES[1:])
        raise UnsupportedModel(f"{scaling.source}: rope scaling of the type {kind!r:.40}; known are {known}")
    return kind


def _refuse_unusual_yarn(scaling: Settings) -> None:
    usual = 0.1 * log(max(1.0, scaling.number("factor"))) + 1
    if not isclose(scaling.number("attention_factor", usual), usual, rel_tol=1e-3):
        raise UnsupportedModel(f"{scaling.source}: attention_factor is not {usual:.4f}, as yarn has it")
    for key, value in scaling.values.items():
        if key not in _YARN_KEYS and value is not None and value != _YARN_DEFAULTS.get(key):
            raise UnsupportedModel(f"{scaling.source}: {key!r:.40} = {value!r:.40} is not supported for yarn")
