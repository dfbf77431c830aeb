"""Tiny models for the oracles: configurations, weights drawn from a seed by name, and the files that hold them.

Only logits need be committed: the weights are drawn again wherever they are needed. Imports nothing of Puna.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.gguf.huggingface.folders import safetensors, write_json

Weights = dict[str, NDArray[np.float32]]

TOKENS = 80  # in a prompt: past the 64 positions that "llama3" was "trained" for
SHOWN = tuple(range(4, TOKENS, 5))  # the positions whose logits the goldens hold

_LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "attention_bias": False,
    "tie_word_embeddings": False,
}
_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_MISTRAL = _LLAMA | {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "vocab_size": 300,  # no multiple of 16
    "hidden_size": 64,
    "intermediate_size": 160,
    "head_dim": 32,  # not hidden_size / num_attention_heads
    "num_hidden_layers": 2,
    "sliding_window": None,
}
_QWEN2 = _LLAMA | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 96,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "rope_theta": 1000000.0,
    "use_sliding_window": False,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _LLAMA,
    "llama_tied": _LLAMA | {"hidden_size": 64, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "llama3_rope": _LLAMA | {"hidden_size": 64, "num_attention_heads": 2, "rope_scaling": _LLAMA3_ROPE},
    "llama_linear_rope": _LLAMA
    | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}, "num_hidden_layers": 2},
    "llama_bias": _LLAMA | {"attention_bias": True, "num_key_value_heads": 4, "num_hidden_layers": 2},
    "mistral": _MISTRAL,
    "mistral_window": _MISTRAL | {"sliding_window": 48},
    "qwen2": _QWEN2 | {"num_hidden_layers": 2},
    "qwen2_tied": _QWEN2 | {"tie_word_embeddings": True},
}


def prompt(name: str) -> list[int]:
    """Token ids, TOKENS of them."""
    return [int(token) for token in _random(f"{name} prompt").integers(0, CONFIGS[name]["vocab_size"], TOKENS)]


def weights(name: str) -> Weights:
    """Random weights under transformers' names, of a size at which attention and gates are far from flat.

    As trained models are begun (GPT-2's rule): matrices keep a vector's length, those that write to the residual
    stream divided by sqrt(2 layers).
    """
    c = CONFIGS[name]
    hidden, feed, vocab = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    head = c.get("head_dim", hidden // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    qwen2 = c["model_type"] == "qwen2"
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,)}
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocab, hidden)
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        for part, rows, columns in (("q", q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, q)):
            shapes[f"{at}self_attn.{part}_proj.weight"] = (rows, columns)
            if c["attention_bias"] or (qwen2 and part != "o"):
                shapes[f"{at}self_attn.{part}_proj.bias"] = (rows,)
        shapes[f"{at}input_layernorm.weight"] = shapes[f"{at}post_attention_layernorm.weight"] = (hidden,)
        shapes[f"{at}mlp.gate_proj.weight"] = shapes[f"{at}mlp.up_proj.weight"] = (feed, hidden)
        shapes[f"{at}mlp.down_proj.weight"] = (hidden, feed)
    drawn = {key: _draw(f"{name} {key}", shape) for key, shape in shapes.items()}
    residual = np.float32(1 / np.sqrt(2 * c["num_hidden_layers"]))
    return {key: w * residual if key.endswith(("o_proj.weight", "down_proj.weight")) else w for key, w in drawn.items()}


def rounded(tensors: Weights, quantise: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Weights:
    """The weights with every matrix rounded; norms and biases stay."""
    return {key: quantise(array) if array.ndim == 2 else array for key, array in tensors.items()}


def write_folder(
    folder: Path,
    name: str,
    *,
    tensors: Weights | None = None,
    dtype: str = "F32",
    changes: dict[str, Any] | None = None,
) -> Path:
    """A Hugging Face folder without a tokenizer."""
    folder.mkdir(exist_ok=True)
    config = {key: value for key, value in (CONFIGS[name] | (changes or {})).items() if value is not None}
    write_json(folder / "config.json", config)
    (folder / "model.safetensors").write_bytes(safetensors(weights(name) if tensors is None else tensors, dtype))
    return folder


def _draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = _random(name).standard_normal(shape)
    if len(shape) == 2:
        values /= 1 if "embed_tokens" in name else np.sqrt(shape[1])
    elif name.endswith("norm.weight"):
        values = 1 + 0.2 * values
    else:
        values *= 0.5  # a bias
    return values.astype(np.float32)


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
