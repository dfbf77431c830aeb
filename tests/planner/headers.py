"""Headers without files: what a planner needs of a model, made from hyperparameters and shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna.gguf import GGMLType, Tensor, Value
from puna.gguf.mapped import MappedModel

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "goldens" / "flops.json").read_text(encoding="utf-8"))


def header(
    metadata: Mapping[str, Value], shapes: Mapping[str, Sequence[int]], kind: GGMLType = GGMLType.F32
) -> MappedModel:
    """A model of which only the header may be looked at. Rows that are not whole blocks are F32."""
    tensors = {
        name: Tensor(name, tuple(shape), kind if shape[-1] % kind.block_size == 0 else GGMLType.F32, _no_bytes)
        for name, shape in shapes.items()
    }
    return MappedModel(Path("header.gguf"), metadata, tensors, [])


def golden(name: str) -> MappedModel:
    """The header of one of the tiny models whose operations torch has counted."""
    return header(GOLDEN[name]["metadata"], GOLDEN[name]["tensors"])


def llama_8b(kind: GGMLType = GGMLType.F16, changed: Mapping[str, Value | None] | None = None) -> MappedModel:
    """Llama 3 8B's; hyperparameters may be changed, or left out with None."""
    layers, width, hidden, kv, vocabulary = 32, 4096, 14336, 1024, 128256
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (vocabulary, width),
        "output.weight": (vocabulary, width),
        "output_norm.weight": (width,),
    }
    for i in range(layers):
        parts: dict[str, tuple[int, ...]] = {
            "attn_norm": (width,), "attn_q": (width, width), "attn_k": (kv, width), "attn_v": (kv, width),
            "attn_output": (width, width), "ffn_norm": (width,), "ffn_gate": (hidden, width),
            "ffn_up": (hidden, width), "ffn_down": (width, hidden),
        }  # fmt: skip
        shapes |= {f"blk.{i}.{part}.weight": shape for part, shape in parts.items()}
    own: dict[str, Value | None] = {
        "block_count": layers, "embedding_length": width, "context_length": 8192, "feed_forward_length": hidden,
        "attention.head_count": 32, "attention.head_count_kv": 8, **(changed or {}),
    }  # fmt: skip
    named = {f"llama.{key}": value for key, value in own.items() if value is not None}
    return header({"general.architecture": "llama", "general.name": "Llama 3 8B", **named}, shapes, kind)


def _no_bytes(_first: int, _last: int) -> NDArray[np.uint8]:
    raise AssertionError("a planner reads no weights")
