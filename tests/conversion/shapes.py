"""Models of which only the shapes matter: what the rules of the mixes look at."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from puna.conversion.mixes import Mix
from puna.gguf import GGMLType, Tensor


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder with a vocabulary of 320."""

    architecture: str = "llama"
    layers: int = 16
    width: int = 256
    hidden: int = 512
    heads: int = 4
    heads_kv: int = 4
    experts: int = 0
    tied: bool = False

    def metadata(self) -> dict[str, Any]:
        """What GGUF says of it."""
        own = {
            "block_count": self.layers,
            "context_length": 128,
            "embedding_length": self.width,
            "feed_forward_length": self.hidden,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.heads_kv,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.layer_norm_epsilon": 1e-5,
            "vocab_size": 320,
        } | ({"expert_count": self.experts, "expert_used_count": 2} if self.experts else {})
        return {"general.architecture": self.architecture} | {f"{self.architecture}.{k}": v for k, v in own.items()}

    def tensors(self) -> list[Tensor]:
        """Matrices in F16, vectors in F32; they cannot be read."""
        return [
            Tensor(name, shape, GGMLType.F16 if len(shape) > 1 else GGMLType.F32, _unreadable)
            for name, shape in self._shapes()
        ]

    def _shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield "token_embd.weight", (320, self.width)
        yield "output_norm.weight", (self.width,)
        if not self.tied:
            yield "output.weight", (320, self.width)
        for layer in range(self.layers):
            for name, shape in self._layer():
                yield f"blk.{layer}.{name}.weight", shape

    def _layer(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        width, hidden, kv = self.width, self.hidden, self.width // self.heads * self.heads_kv
        yield "attn_norm", (width,)
        if self.architecture == "falcon":
            yield "attn_qkv", (width + 2 * kv, width)
        else:
            yield from [("attn_q", (width, width)), ("attn_k", (kv, width)), ("attn_v", (kv, width))]
        yield from [("attn_output", (width, width)), ("ffn_norm", (width,))]
        if self.experts:
            yield "ffn_gate_inp", (self.experts, width)
        stack, end = ((self.experts,), "_exps") if self.experts else ((), "")
        yield from [(f"ffn_{part}{end}", (*stack, hidden, width)) for part in ("gate", "up")]
        yield f"ffn_down{end}", (*stack, width, hidden)


def special_types(types: Mapping[str, GGMLType], shape: Shape, mix: Mix) -> dict[str, dict[str, list[int]]]:
    """The matrices that are not of the mix's own type: by type, then by name, the layers."""
    special: dict[str, dict[str, list[int]]] = {}
    for tensor in shape.tensors():
        kind = types[tensor.name]
        if len(tensor.shape) > 1 and kind is not mix.kind:
            in_layer = re.fullmatch(r"blk\.(\d+)\.(.*)", tensor.name)
            layers = special.setdefault(kind.name, {}).setdefault(in_layer[2] if in_layer else tensor.name, [])
            layers += [int(in_layer[1])] if in_layer else []
    return special


def _unreadable(_first: int, _last: int) -> Any:
    raise AssertionError("only its shape is known")


SHAPES = {
    "llama": Shape(),
    "shared heads": Shape(heads_kv=1),
    "few layers, tied": Shape(layers=6, tied=True),
    "70B's layers": Shape(layers=80, heads_kv=1),
    "8 experts": Shape(layers=9, experts=8, heads_kv=2),
    "4 experts": Shape(layers=9, experts=4),
    "rows of 192 and 352": Shape(layers=4, width=192, hidden=352, heads=3, heads_kv=3),
    "falcon": Shape(architecture="falcon", layers=17),
}
