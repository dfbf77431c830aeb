"""How one class of transformers becomes one architecture of GGUF: names, and the order of rows, of its tensors.

llama.cpp wants the rows of some matrices in another order than transformers: an order is an array that names, for
each row of GGUF's tensor, the row of the stored one. Knows no particular architecture.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.gguf.huggingface.settings import Settings
from puna.gguf.huggingface.stacking import EXPERT, Rearrange, Tensors
from puna.gguf.model_file import Value

Order: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention heads: how many of queries, how many of keys and values, and how long."""

    queries: int
    keys: int
    length: int

    def rows(self, part: str) -> int:
        """Of attn_q, attn_k, attn_v, or of those three together."""
        counts = {"attn_q": self.queries, "attn_k": self.keys, "attn_v": self.keys}
        return counts.get(part, self.queries + 2 * self.keys) * self.length


RowOrder: TypeAlias = Callable[[Heads], Order]
Keys: TypeAlias = Callable[[Settings], dict[str, Value]]


def _no_keys(_config: Settings) -> dict[str, Value]:
    return {}


def _as_they_are(tensors: Tensors, _config: Settings) -> Tensors:
    return tensors


@dataclass(frozen=True, slots=True)
class Architecture:
    """A class of transformers as GGUF sees it; `{}` in a tensor's name is the layer, then the expert."""

    name: str
    tensors: Mapping[str, str | tuple[str, ...]]  # several: each takes some of the rows
    rows: Mapping[str, RowOrder] = field(default_factory=dict)  # by part of a GGUF name, such as attn_q
    keys: Keys = _no_keys  # metadata that others do not have, or have otherwise, after the architecture's name
    settings: Mapping[str, str] = field(default_factory=dict)  # the names of settings that others call otherwise
    defaults: Mapping[str, Any] = field(default_factory=dict)  # of settings that files leave out
    derived: Callable[[Settings], dict[str, Any]] = _no_keys  # settings to be worked out from others
    activations: tuple[str, ...] = ("silu", "swish")  # those that the forward pass has
    epsilon: str = "rms_norm_eps"  # the setting
    layer_norm: bool = False  # rather than RMSNorm
    norms_less_one: bool = False  # norms' weights are stored less 1
    transposed: frozenset[str] = frozenset()  # parts whose matrices are stored (columns, rows)
    window_everywhere: bool = False  # the setting sliding_window holds for every layer
    window_in_some: bool = False  # it holds for the layers that layer_types says
    tied: bool = False  # whether embeddings are tied where the file does not say
    rotates_in_part: bool = False  # partial_rotary_factor is known
    rotates: bool = True  # it has rotary position embeddings
    flat: frozenset[str] = frozenset()  # parts whose matrices have one row, which is GGUF's vector
    rearrange: Rearrange = _as_they_are  # of the tensors under GGUF's names

    def gguf_names(self, name: str) -> tuple[str, ...]:
        """GGUF's names of what a tensor of transformers becomes; none when the table has none."""
        name = EXPERT.sub(".experts.{}.", name)  # each goes into one stack
        layer = _LAYER.search(name)
        if layer is None:
            found = self.tensors.get(name, ())
        else:
            found = self.tensors.get(f"{name[: layer.start(1)]}{{}}{name[layer.end(1) :]}", ())
        names = (found,) if isinstance(found, str) else found
        return tuple(pattern.format(int(layer[1])) if layer else pattern for pattern in names)


_LAYER = re.compile(r"(?:^|\.)(?:layers|h)\.(\d{1,5})\.")


def part_of(name: str) -> str:
    """attn_q of blk.3.attn_q.weight"""
    return name.split(".")[-2]


def _pairs_from_halves(count: int, length: int) -> Order:
    """Rows 0 .. d/2-1 and d/2 .. d-1 of each head become its rows 0, 2, 4, ... and 1, 3, 5, ..."""
    head = np.arange(length).reshape(2, length // 2).T.reshape(-1)
    return (np.arange(count)[:, None] * length + head).reshape(-1)


def paired_queries(heads: Heads) -> Order:
    """transformers rotates elements i and i + d/2 of a head, llama.cpp (where it does as for llama) 2i and 2i + 1."""
    return _pairs_from_halves(heads.queries, heads.length)


def paired_keys(heads: Heads) -> Order:
    """As `paired_queries`."""
    return _pairs_from_halves(heads.keys, heads.length)


def _of_groups(heads: Heads, part: slice) -> Order:
    """Rows of some of the heads of each group: of its queries, then its key, then its value."""
    size = heads.queries // heads.keys + 2
    rows = np.arange(heads.keys * size * heads.length).reshape(heads.keys, size, heads.length)
    return rows[:, part].reshape(-1)


def grouped_queries(heads: Heads) -> Order:
    """The queries of rows that come group by group."""
    return _of_groups(heads, slice(-2))


def grouped_keys(heads: Heads) -> Order:
    """Their keys."""
    return _of_groups(heads, slice(-2, -1))


def grouped_values(heads: Heads) -> Order:
    """Their values."""
    return _of_groups(heads, slice(-1, None))


def ungrouped(heads: Heads) -> Order:
    """All queries, all keys, all values of rows that come group by group (in GPT-NeoX: head by head)."""
    return np.concatenate([grouped_queries(heads), grouped_keys(heads), grouped_values(heads)])


def paired_grouped_queries(heads: Heads) -> Order:
    """`grouped_queries`, each head then as `paired_queries`."""
    return grouped_queries(heads)[paired_queries(heads)]


def paired_grouped_keys(heads: Heads) -> Order:
    """`grouped_keys`, each head then as `paired_keys`."""
    return grouped_keys(heads)[paired_keys(heads)]
