"""Which type each tensor of a model gets when the model is quantised: llama.cpp's mixes, such as Q4_K_M.

A mix gives most matrices one type, and more bits to those that do the most harm: the output, the values of attention,
some layers' ffn_down. The rules are those of llama-quant.cpp, found by experiment there. Knows no quantiser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from puna.errors import InvalidRequest
from puna.gguf import GGMLType, Tensor, Value
from puna.gguf.types import FILE_TYPES

_KINDS: dict[str, GGMLType] = {
    **{name: GGMLType[name] for name in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1")},
    **dict.fromkeys(("Q2_K", "Q2_K_S"), GGMLType.Q2_K),
    **dict.fromkeys(("Q3_K_S", "Q3_K_M", "Q3_K_L"), GGMLType.Q3_K),
    **dict.fromkeys(("Q4_K_S", "Q4_K_M"), GGMLType.Q4_K),
    **dict.fromkeys(("Q5_K_S", "Q5_K_M"), GGMLType.Q5_K),
    "Q6_K": GGMLType.Q6_K,
    "IQ4_NL": GGMLType.IQ4_NL,
    "IQ4_XS": GGMLType.IQ4_XS,
    "TQ1_0": GGMLType.TQ1_0,
    "TQ2_0": GGMLType.TQ2_0,
    "MXFP4_MOE": GGMLType.MXFP4,
}
_ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}  # as llama-quantize takes them
_FILE_TYPE_NUMBERS = {name: number for number, name in FILE_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Mix:
    """A way to quantise a whole model."""

    name: str
    kind: GGMLType  # of most matrices

    @property
    def file_type(self) -> int:
        """The number that `general.file_type` tells it by."""
        return _FILE_TYPE_NUMBERS[self.name]

    @property
    def quantized(self) -> bool:
        """False for the types that keep floats, one by one."""
        return self.kind.block_size > 1


MIXES: dict[str, Mix] = {name: Mix(name, kind) for name, kind in _KINDS.items()}


def mix_named(name: str) -> Mix:
    """The mix of that name, in any case. Raises InvalidRequest, which lists them."""
    upper = name.upper()
    mix = MIXES.get(_ALIASES.get(upper, upper))
    if mix is None:
        raise InvalidRequest(f"cannot quantise to {name!r:.40}: the types are {', '.join([*MIXES, *_ALIASES])}")
    return mix


def tensor_types(
    mix: Mix, metadata: Mapping[str, Value], tensors: Iterable[Tensor], *, weighted: bool
) -> dict[str, GGMLType]:
    """The type of each tensor, by name, in the order of `in_layer_order`. weighted: by an importance matrix."""
    ordered = in_layer_order(tensors)
    if not mix.quantized:
        return {t.name: mix.kind if may_be_quantized(t) else t.type for t in ordered}
    chooser = _Chooser(mix, _Facts.of(metadata, ordered, weighted))
    return {t.name: chooser.choose(t) if may_be_quantized(t) else t.type for t in ordered}


def in_layer_order(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Those outside layers by name, then layer by layer, by name in each: llama.cpp's order."""
    return sorted(tensors, key=lambda tensor: (_layer(tensor.name), tensor.name))


# Parts of names of matrices that are small, or do too much harm, and so stay as they are.
_KEPT = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
    "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight",
    *(f"time_mix_{part}.weight" for part in ("w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2")),
    "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight", "attn_rel_b.weight",
    ".position_embd", "sam.pos_embd", "sam.neck.", "sam.net_", ".rel_pos", ".patch_embd", ".patch_merger",
    "a.rvq.codebook", "mm.a.code_embd",
)  # fmt: skip
_KEPT_WHOLE = ("position_embd.weight", "token_types.weight")


def may_be_quantized(tensor: Tensor) -> bool:
    """Whether it is a matrix, and not one of those that stay."""
    name = tensor.name
    is_matrix = any(dimension > 1 for dimension in tensor.shape[:-1])
    kept = name in _KEPT_WHOLE or any(part in name for part in _KEPT)
    return is_matrix and name.endswith("weight") and not kept


# Where rows are not whole blocks of 256. Where they are not even blocks of 32, F16.
_NARROWER: dict[GGMLType, GGMLType] = {
    GGMLType.IQ4_XS: GGMLType.IQ4_NL,
    **dict.fromkeys((GGMLType.Q2_K, GGMLType.Q3_K, GGMLType.TQ1_0, GGMLType.TQ2_0), GGMLType.Q4_0),
    GGMLType.Q4_K: GGMLType.Q5_0,
    GGMLType.Q5_K: GGMLType.Q5_1,
    GGMLType.Q6_K: GGMLType.Q8_0,
}


def fitting_type(kind: GGMLType, columns: int) -> GGMLType:
    """The type itself, or the nearest of which rows of so many columns are whole blocks."""
    for choice in (kind, _NARROWER.get(kind, kind)):
        if columns % choice.block_size == 0:
            return choice
    return GGMLType.F16


def _layer(name: str) -> int:
    found = re.match(r"blk\.(\d+)\.", name)
    return int(found[1]) if found else -1


@dataclass(frozen=True, slots=True)
class _Facts:
    """What the rules ask of a model."""

    architecture: str
    layers: int
    experts: int
    heads_per_kv: int  # query heads that share keys and values
    is_70b: bool
    tied: bool  # the token embedding is the output too
    attention_vs: int  # how many tensors hold values of attention
    weighted: bool

    @classmethod
    def of(cls, metadata: Mapping[str, Value], tensors: Iterable[Tensor], weighted: bool) -> _Facts:
        architecture = str(metadata.get("general.architecture", ""))

        def number(key: str) -> int:
            value = metadata.get(f"{architecture}.{key}", 0)
            first = value if isinstance(value, int) else next(iter(value), 0) if hasattr(value, "__iter__") else 0
            return int(first) if not isinstance(first, str) else 0

        heads, layers = number("attention.head_count"), number("block_count")
        kv = number("attention.head_count_kv") or heads
        names = [tensor.name for tensor in tensors]
        return cls(
            architecture=architecture,
            layers=layers,
            experts=number("expert_count"),
            heads_per_kv=heads // kv if kv else 0,
            is_70b=architecture == "llama" and layers == 80 and heads != kv,
            tied="output.weight" not in names,
            attention_vs=sum(_is_attention_v(name) for name in names),
            weighted=weighted,
        )


def _is_attention_v(name: str) -> bool:
    return any(part in name for part in ("attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"))


def _more_bits(index: int, count: int) -> bool:
    """The first and last eighth, and every third in between."""
    return index < count // 8 or index >= 7 * count // 8 or (index - count // 8) % 3 == 2


class _Chooser:
    """Goes through a model's tensors, layer by layer, and counts as it goes: some rules ask the how manieth it is."""

    def __init__(self, mix: Mix, facts: _Facts) -> None:
        self._mix, self._facts = mix, facts
        self._attention_vs = self._ffn_downs = 0

    def choose(self, tensor: Tensor) -> GGMLType:
        return fitting_type(self._wanted(tensor), tensor.shape[-1])

    def _wanted(self, tensor: Tensor) -> GGMLType:
        name, columns = tensor.name, tensor.shape[-1]
        embedding = name in ("token_embd.weight", "per_layer_token_embd.weight")
        if name == "output.weight" or (embedding and self._facts.tied):
            return self._output(columns)
        if self._mix.name == "MXFP4_MOE":
            return GGMLType.MXFP4 if len(tensor.shape) > 2 and tensor.shape[-3] > 1 else GGMLType.Q8_0
        if embedding:
            return GGMLType.Q4_K if self._mix.name in ("TQ1_0", "TQ2_0") else self._mix.kind
        if _is_attention_v(name):
            self._attention_vs += 1
            return self._attention_v(self._attention_vs - 1)
        if "attn_k.weight" in name:
            return GGMLType.Q8_0 if self._facts.experts == 8 else self._mix.kind
        if "attn_output.weight" in name:
            return self._attention_output()
        if "ffn_down" in name:
            self._ffn_downs += 1
            # A mixture of experts may have several in a layer.
            return self._ffn_down(_layer(name) if self._facts.experts > 1 else self._ffn_downs - 1)
        return self._mix.kind

    def _output(self, columns: int) -> GGMLType:
        plain = self._mix.kind in (GGMLType.Q8_0, GGMLType.MXFP4)
        if plain or self._facts.architecture == "falcon" or columns % self._mix.kind.block_size:
            return GGMLType.Q8_0
        return GGMLType.Q6_K

    def _attention_v(self, index: int) -> GGMLType:
        facts, kind = self._facts, self._mix.kind
        shared = facts.heads_per_kv >= 4
        match self._mix.name:
            case "Q2_K":
                kind = GGMLType.Q4_K if shared else GGMLType.Q3_K
            case "Q2_K_S" if shared:
                kind = GGMLType.Q4_K
            case "Q3_K_M":
                kind = GGMLType.Q5_K if index < 2 else GGMLType.Q4_K
            case "Q3_K_L":
                kind = GGMLType.Q5_K
            case "IQ4_NL" | "IQ4_XS" if shared:
                kind = GGMLType.Q5_K
            case "Q4_K_M" | "Q5_K_M" if _more_bits(index, facts.attention_vs):
                kind = GGMLType.Q6_K
            case "Q4_K_S" if index < 4:
                kind = GGMLType.Q5_K
        if facts.is_70b and kind in (GGMLType.Q3_K, GGMLType.Q4_K):
            kind = GGMLType.Q5_K
        return GGMLType.Q8_0 if facts.experts == 8 else kind

    def _attention_output(self) -> GGMLType:
        name, kind = self._mix.name, self._mix.kind
        if self._facts.architecture == "falcon":
            return GGMLType.Q4_K if name == "Q3_K_L" else kind
        if self._facts.experts == 8:
            raised = ("Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_NL", "Q4_K_S", "Q4_K_M", "IQ4_XS")
            return GGMLType.Q5_K if name in raised else kind
        return {"Q2_K": GGMLType.Q3_K, "Q3_K_M": GGMLType.Q4_K, "Q3_K_L": GGMLType.Q5_K}.get(name, kind)

    def _ffn_down(self, index: int) -> GGMLType:
        count, kind = self._facts.layers, self._mix.kind
        falcon, weighted = self._facts.architecture == "falcon", self._facts.weighted
        first_eighth, more = index < count // 8, _more_bits(index, count)
        match self._mix.name:
            case "Q2_K":
                return GGMLType.Q3_K
            case "Q2_K_S" if first_eighth:
                return GGMLType.Q4_K
            case "Q3_K_M":
                higher = GGMLType.Q4_K if not falcon or more else GGMLType.Q3_K
                return GGMLType.Q5_K if index < count // 16 else higher
            case "Q3_K_L":
                return GGMLType.Q4_K if falcon else GGMLType.Q5_K
            case "Q4_K_M" if falcon:
                higher = GGMLType.Q5_K if more else GGMLType.Q4_K
                return GGMLType.Q6_K if index < count // 16 else higher
            case "Q4_K_M" | "Q5_K_M" if more:
                return GGMLType.Q6_K
            case "IQ4_NL" | "IQ4_XS" if first_eighth and not weighted:
                return GGMLType.Q5_K
            case "Q4_K_S" if first_eighth and not falcon:
                return GGMLType.Q5_K
            case "Q4_0" if first_eighth and weighted:
                return GGMLType.Q4_1
            case "Q5_0" if first_eighth and weighted:
                return GGMLType.Q5_1
        return kind
