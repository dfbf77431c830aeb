"""Rotary position embedding: the table of cosines and sines by position.

Su et al. 2021, for longer contexts than a model was trained for stretched linearly, by another base (dynamic NTK), by
YaRN (Peng et al. 2023), or by factors of its own for each frequency (Llama 3's; LongRoPE's, Ding et al. 2024). Filled
in pages as positions are first needed, each page computed alike, so that a position's values never vary.
"""

from __future__ import annotations

from math import ceil, floor, log, pi

import numpy as np
from numpy.typing import NDArray

from puna.gguf import RopeConfig
from puna.models.memory import zeros

_PAGE = 64

Frequencies = NDArray[np.float64]


class RopeTable:
    """cos_sin: float32 (context, dimension_count): the cosines of a position, then its sines."""

    def __init__(self, config: RopeConfig, context: int, freq_factors: NDArray[np.float32] | None) -> None:
        """freq_factors: divisors of the frequencies, from the file."""
        self.context = context
        self._frequencies = frequencies(config, context)
        if freq_factors is not None:
            self._frequencies /= freq_factors.astype(np.float64)
        self._magnitude = config.attention_factor
        if config.scaling_type == "yarn" and config.factor > 1 and not config.log_multiplier:
            self._magnitude *= 0.1 * log(config.factor) + 1
        pages = -(-context // _PAGE)
        self.cos_sin: NDArray[np.float32] = zeros((pages * _PAGE, config.dimension_count))
        self._filled = 0

    def reach(self, position: int) -> None:
        """Make the table valid up to and including a position."""
        while self._filled <= position:
            positions = np.arange(self._filled, self._filled + _PAGE, dtype=np.float64)
            angles = positions[:, None] * self._frequencies
            page = np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * self._magnitude
            self.cos_sin[self._filled : self._filled + _PAGE] = page
            self._filled += _PAGE


def frequencies(config: RopeConfig, context: int) -> Frequencies:
    """Radians per position of each pair of dimensions, in a context of so many positions."""
    half = config.dimension_count // 2
    base = _dynamic_base(config, context) if config.scaling_type == "dynamic" else config.freq_base
    plain: Frequencies = base ** -(np.arange(half, dtype=np.float64) / half)
    if config.scaling_type == "linear":
        return plain / config.factor
    if config.scaling_type == "yarn":
        stretched = _ramp(config)
        return plain * (1 - stretched) + plain / config.factor * stretched
    return plain


def _dynamic_base(config: RopeConfig, context: int) -> float:
    """NTK-aware scaling for the context there is: beyond the original one the base grows."""
    stretch = max(1.0, config.factor * context / config.original_context_length - (config.factor - 1))
    grown: float = config.freq_base * stretch ** (config.dimension_count / (config.dimension_count - 2))
    return grown


def _ramp(config: RopeConfig) -> Frequencies:
    """How far each frequency is stretched: 0 for those that turn fast, 1 for those that turn slowly."""
    half = config.dimension_count // 2
    first, last = (_pair_that_turns(config, times) for times in (config.beta_fast, config.beta_slow))
    if config.whole_pairs:
        first, last = floor(first), ceil(last)
    first, last = max(first, 0), min(last, config.dimension_count - 1)
    ramp: Frequencies = ((np.arange(half) - first) / max(last - first, 0.001)).clip(0, 1)
    return ramp


def _pair_that_turns(config: RopeConfig, times: float) -> float:
    """The pair of dimensions that turns so many times over the original context."""
    turns = config.original_context_length / (times * 2 * pi)
    return config.dimension_count * log(turns) / (2 * log(config.freq_base))
