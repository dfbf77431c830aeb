"""Tiny Hugging Face folders, their safetensors put together byte by byte so that they can also lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HIDDEN, HEADS, KV_HEADS, HEAD, FEED, LAYERS, VOCAB = 16, 4, 2, 4, 24, 2, 11

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_act": "silu",
    "hidden_size": HIDDEN,
    "intermediate_size": FEED,
    "max_position_embeddings": 128,
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": VOCAB,
}

Weights = dict[str, NDArray[np.float32]]


def weights(seed: int = 0, *, biases: bool = False) -> Weights:
    """Random weights under transformers' names."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCAB, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        "lm_head.weight": (VOCAB, HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        for part, rows in (("q", HEADS * HEAD), ("k", KV_HEADS * HEAD), ("v", KV_HEADS * HEAD)):
            shapes[f"{prefix}self_attn.{part}_proj.weight"] = (rows, HIDDEN)
            if biases:
                shapes[f"{prefix}self_attn.{part}_proj.bias"] = (rows,)
        shapes[f"{prefix}self_attn.o_proj.weight"] = (HIDDEN, HEADS * HEAD)
        shapes[f"{prefix}input_layernorm.weight"] = (HIDDEN,)
        shapes[f"{prefix}post_attention_layernorm.weight"] = (HIDDEN,)
        shapes[f"{prefix}mlp.gate_proj.weight"] = (FEED, HIDDEN)
        shapes[f"{prefix}mlp.up_proj.weight"] = (FEED, HIDDEN)
        shapes[f"{prefix}mlp.down_proj.weight"] = (HIDDEN, FEED)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def stored(array: NDArray[np.float32], dtype: str) -> bytes:
    """An array's bytes as F32, F16 or BF16 (its upper half: truncated)."""
    if dtype == "BF16":
        return (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    return array.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()


def safetensors(tensors: Weights, dtype: str = "F32") -> bytes:
    """A safetensors file."""
    index: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in tensors.items():
        raw = stored(array, dtype)
        offsets = [len(data), len(data) + len(raw)]
        index[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    return packed(index, data)


def packed(index: Any, data: bytes = b"") -> bytes:
    """An index and data in safetensors' frame."""
    head = index if isinstance(index, bytes) else json.dumps(index).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def write_folder(folder: Path, changes: dict[str, Any] | None = None, *, dtype: str = "F32") -> Weights:
    """A folder of CONFIG with changes (None takes a key away) and its weights, which are returned."""
    config = {key: value for key, value in (CONFIG | (changes or {})).items() if value is not None}
    write_json(folder / "config.json", config)
    tensors = weights(biases=config["architectures"] == ["Qwen2ForCausalLM"])
    if config.get("tie_word_embeddings"):
        del tensors["lm_head.weight"]
    (folder / "model.safetensors").write_bytes(safetensors(tensors, dtype))
    return tensors
