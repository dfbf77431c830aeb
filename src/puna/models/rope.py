"""Rotary position embedding: the table of cosines and sines by position.

Su et al. 2021; `freq_factors` are Llama 3's (the tensor rope_freqs.weight), `factor` is linear scaling.
Filled in pages as positions are first needed, each page computed alike, so that a position's values never vary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.gguf import RopeConfig
from puna.models.memory import zeros

SCALING_TYPES = ("none", "linear")

_PAGE = 64


class RopeTable:
    """cos_sin: float32 (context, dimension_count): the cosines of a position, then its sines."""

    def __init__(self, config: RopeConfig, context: int, freq_factors: NDArray[np.float32] | None) -> None:
        assert config.scaling_type in SCALING_TYPES
        half = config.dimension_count // 2
        exponents = np.arange(half, dtype=np.float64) / half
        self._frequencies = config.freq_base**-exponents / config.factor
        if freq_factors is not None:
            self._frequencies /= freq_factors.astype(np.float64)
        pages = -(-context // _PAGE)
        self.cos_sin: NDArray[np.float32] = zeros((pages * _PAGE, config.dimension_count))
        self._filled = 0

    def reach(self, position: int) -> None:
        """Make the table valid up to and including a position."""
        while self._filled <= position:
            positions = np.arange(self._filled, self._filled + _PAGE, dtype=np.float64)
            angles = positions[:, None] * self._frequencies
            page = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
            self.cos_sin[self._filled : self._filled + _PAGE] = page
            self._filled += _PAGE
