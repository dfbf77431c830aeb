"""Tiny models for the oracles: weights drawn from a seed by name, and the folders that hold them.

Only logits, and the names and shapes of transformers' tensors, need be committed: the weights are drawn again wherever
they are needed. Imports nothing of Puna.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.gguf.huggingface.folders import safetensors, write_json
from tests.models.tiny_configs import CONFIGS, RENAMED, TWINS

__all__ = ["CONFIGS", "SHOWN", "TOKENS", "prompt", "rounded", "weights", "write_folder"]

Weights = dict[str, NDArray[np.float32]]

TOKENS = 80  # in a prompt: past the 64 positions that "llama3" was "trained" for
SHOWN = tuple(range(4, TOKENS, 5))  # the positions whose logits the goldens hold

SHAPES = Path(__file__).parent / "goldens" / "shapes.json"  # by model, by tensor of transformers

# Parts of the names of matrices that write to the residual stream.
_RESIDUAL = ("o_proj.", "down_proj.", "dense.weight", "dense_4h_to_h.", "c_proj.", "fc2.")


# Norms that write to it, where nothing else scales it.
_RESIDUAL_NORMS = {
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "olmo3": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "exaone4": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "glm4": ("post_self_attn_layernorm", "post_mlp_layernorm"),
}


def prompt(name: str) -> list[int]:
    """Token ids, TOKENS of them."""
    return [int(token) for token in _random(f"{name} prompt").integers(0, CONFIGS[name]["vocab_size"], TOKENS)]


def drawn(name: str) -> Weights:
    """Random weights under transformers' names, of a size at which attention and gates are far from flat.

    As trained models are begun (GPT-2's rule): matrices keep a vector's length, what writes to the residual stream is
    divided by sqrt(2 layers).
    """
    shapes: dict[str, list[int]] = json.loads(SHAPES.read_text())[name]
    config = TWINS.get(name, CONFIGS[name])
    layers = config.get("num_hidden_layers") or config["n_layer"]
    residual = np.float32(1 / np.sqrt(2 * layers))
    tensors = {key: _draw(name, key, tuple(shape)) for key, shape in shapes.items()}
    writers = (*_RESIDUAL, *_RESIDUAL_NORMS.get(config["model_type"], ()))
    return {
        key: w * residual if not key.endswith(".bias") and any(part in key for part in writers) else w
        for key, w in tensors.items()
    }


def weights(name: str) -> Weights:
    """Those that stand in the folder."""
    tensors = drawn(name)
    if name == "internlm2":
        tensors = _joined(tensors, CONFIGS[name])
    for theirs, ours in RENAMED.get(name, {}).items():
        tensors = {key.replace(theirs, ours): array for key, array in tensors.items()}
    return tensors


def _joined(tensors: Weights, config: dict[str, Any]) -> Weights:
    """InternLM 2's wqkv: group by group its queries, its key, its value."""
    groups, columns = config["num_key_value_heads"], config["hidden_size"]
    length = columns // config["num_attention_heads"]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        parts = [tensors.pop(f"{at}self_attn.{part}_proj.weight") for part in "qkv"]
        stacked = np.concatenate([part.reshape(groups, -1, length, columns) for part in parts], axis=1)
        tensors[f"{at}attention.wqkv.weight"] = stacked.reshape(-1, columns)
    return tensors


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


def _draw(name: str, key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = _random(f"{name} {key}").standard_normal(shape)
    if len(shape) == 2:
        inputs = shape[0] if name == "gpt2" else shape[1]  # its matrices are stored (inputs, outputs)
        values /= 1 if "embed" in key or "wte" in key or "wpe" in key else np.sqrt(inputs)
    elif key.endswith(".bias"):
        values *= 0.5
    else:
        values = 0.2 * values + (0 if name.startswith("gemma") else 1)  # Gemma's norms are stored less 1
    return values.astype(np.float32)


def _random(name: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]))
