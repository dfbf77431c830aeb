"""Hyperparameters: from config.json's keys to GGUF's.

Follows llama.cpp's converter in what becomes of each key. Knows nothing of tensors or tokenizers.
"""

from __future__ import annotations

import numpy as np

from puna.errors import UnsupportedModel
from puna.gguf.huggingface.architecture import Architecture
from puna.gguf.huggingface.heads import head_length, heads_of
from puna.gguf.huggingface.rope import rope_keys, rotated
from puna.gguf.huggingface.settings import Settings, single
from puna.gguf.model_file import Value

# GGUF key after the architecture: key in config.json
_INTEGERS = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "vocab_size": "vocab_size",
}


def hyperparameters(config: Settings, architecture: Architecture) -> dict[str, Value]:
    """GGUF metadata of the architecture; raises InvalidGGUF or UnsupportedModel naming the key."""
    _refuse_unknown_arithmetic(config, architecture)
    heads = heads_of(config)
    epsilon = "attention.layer_norm_epsilon" if architecture.layer_norm else "attention.layer_norm_rms_epsilon"
    values: dict[str, Value] = {
        **{key: config.integer(name) for key, name in _INTEGERS.items()},
        "attention.head_count_kv": heads.keys,
        "attention.key_length": heads.length,
        "attention.value_length": heads.length,
        epsilon: single(config.number(architecture.epsilon, 1e-6)),
        **rope_keys(config, architecture),
        **_window(config, architecture),
        **architecture.keys(config),
    }
    return {f"{architecture.name}.{key}": value for key, value in values.items()}


def _refuse_unknown_arithmetic(config: Settings, architecture: Architecture) -> None:
    """What changes the forward pass and has no place in GGUF."""
    activation = config.text("hidden_act") or architecture.activations[0]
    if activation not in architecture.activations:
        known = " or ".join(architecture.activations)
        raise UnsupportedModel(
            f"{config.source}: {config.name('hidden_act')} {activation!r:.40}; {architecture.name} has {known}"
        )
    if config.flag("mlp_bias", False):
        raise UnsupportedModel(f"{config.source}: mlp_bias: biases in the feed-forward network are not supported")
    if not architecture.rotates_in_part and rotated(config) != head_length(config):
        raise UnsupportedModel(f"{config.source}: partial_rotary_factor: rotating part of a head is not supported")
    quantization = config.section("quantization_config")
    if quantization.values:
        method = quantization.get("quant_method")
        raise UnsupportedModel(
            f"{config.source}: weights quantised by {method!r:.40}; get the model as GGUF, or unquantised"
        )


def _window(config: Settings, architecture: Architecture) -> dict[str, Value]:
    """The window, and which layers have it; refused where the architecture has no place for it."""
    kinds = config.get("layer_types")
    in_some = isinstance(kinds, list) and "sliding_attention" in kinds
    if architecture.window_in_some and config.get("sliding_window") is not None:
        pattern = [kind == "sliding_attention" for kind in kinds] if in_some and isinstance(kinds, list) else None
        window: dict[str, Value] = {"attention.sliding_window": config.integer("sliding_window")}
        return window if pattern is None else window | {"attention.sliding_window_pattern": np.array(pattern, np.bool_)}
    if architecture.window_everywhere and config.get("sliding_window") is not None:
        return {"attention.sliding_window": config.integer("sliding_window")}
    if config.flag("use_sliding_window", False) or (in_some and not architecture.window_everywhere):
        raise UnsupportedModel(f"{config.source}: use_sliding_window: a window in some layers is not supported")
    return {}
