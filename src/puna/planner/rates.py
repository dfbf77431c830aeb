"""What a machine reaches: bytes read and operations done each second, by the layout of the weights.

A device of the table and this machine, as measured, are told in the same words. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from puna.gguf import GGMLType
from puna.models.weights import layout_of


@dataclass(frozen=True, slots=True)
class Rate:
    """For weights of one layout."""

    read: float  # bytes a second, when one token meets them
    compute: float  # operations a second, when many do


@dataclass(frozen=True, slots=True)
class Rates:
    """What a machine reaches."""

    name: str
    engine: Literal["puna", "other"]  # whose layouts and whose memory
    memory: int  # bytes that a model may have
    bandwidth: float  # bytes a second, peak (of this machine: measured)
    peak: float  # operations a second that quantised weights could have at most
    float_peak: float  # the same of floats
    by_layout: Mapping[str, Rate]
    quantized: Rate  # of layouts that are not in the map
    floats: Rate
    kv_read: float  # bytes a second that attention reads of the cache
    attention: float  # operations a second of attention to many positions at once
    layer_seconds: float  # of each layer in each step, whatever it computes
    activation_seconds: float = 0.0  # of each number that a token takes into a product or out of it, beside the product
    threads: int = 1
    power: float | None = None  # watts

    def of(self, kind: GGMLType) -> Rate:
        """Of weights of a type."""
        layout = layout_of(kind)
        return self.by_layout.get(layout.name, self.quantized if layout.quantized else self.floats)
