"""What single architectures have beside the hyperparameters of all: GGUF keys of their own, settings to work out.

Each refuses what its forward pass in `puna.models` does not do. Knows nothing of tensors.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from puna.errors import UnsupportedModel
from puna.gguf.huggingface.settings import Settings, single
from puna.gguf.model_file import Value


def _refuse(config: Settings, key: str, default: bool, *, unless: bool) -> None:
    if config.flag(key, default) is not unless:
        raise UnsupportedModel(f"{config.source}: {key} is {not unless}; only {unless} is supported")


def smollm3(config: Settings) -> dict[str, Value]:
    """Which layers rotate is part of the architecture in GGUF: all but every fourth."""
    layers, known = (
        config.get("no_rope_layers"),
        [layer % 4 < 3 for layer in range(config.integer("num_hidden_layers"))],
    )
    if layers is not None and layers != known:
        raise UnsupportedModel(f"{config.source}: no_rope_layers: only every fourth layer without rope is supported")
    return {}


def granite(config: Settings) -> dict[str, Value]:
    """Multipliers."""
    return {
        "attention.scale": single(config.number("attention_multiplier", 1.0)),
        "embedding_scale": single(config.number("embedding_multiplier", 1.0)),
        "residual_scale": single(config.number("residual_multiplier", 1.0)),
        "logit_scale": single(config.number("logits_scaling", 1.0)),
    }


def minicpm(config: Settings) -> dict[str, Value]:
    """The same, from the widths and depths of muP."""
    return {
        "embedding_scale": single(config.number("scale_emb")),
        "residual_scale": single(config.number("scale_depth") / sqrt(config.integer("num_hidden_layers"))),
        "logit_scale": single(config.integer("hidden_size") / config.integer("dim_model_base")),
    }


def gemma2(config: Settings) -> dict[str, Value]:
    """Soft caps; queries are scaled by a setting, which GGUF cannot say: it is the heads' length in all but the 27B."""
    return {
        "attn_logit_softcapping": single(config.number("attn_logit_softcapping", 50.0)),
        "final_logit_softcapping": single(config.number("final_logit_softcapping", 30.0)),
        "attention.scale": single(1 / sqrt(config.number("query_pre_attn_scalar", 256.0))),
    }


def gemma3(config: Settings) -> dict[str, Value]:
    """Layers with a window have a rope of their own; soft caps are gone."""
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if config.get(key) is not None:
            raise UnsupportedModel(f"{config.source}: {key}: soft caps are not known for gemma3")
    return {
        "rope.freq_base_swa": single(config.number("rope_local_base_freq", 10000.0)),
        "attention.scale": single(1 / sqrt(config.number("query_pre_attn_scalar", 256.0))),
    }


def gemma3_settings(config: Settings) -> dict[str, Any]:
    """Since transformers 5 `rope_parameters` has a rope for each kind of layer; before, one and another base."""
    kinds = config.section("rope_parameters")
    if kinds.get("full_attention") is None:
        return {}
    local, everywhere = kinds.section("sliding_attention"), kinds.section("full_attention")
    if (local.text("rope_type") or "default") != "default":
        raise UnsupportedModel(f"{local.source}: rope scaling of layers with a window is not supported")
    return {"rope_parameters": everywhere.values, "rope_local_base_freq": local.number("rope_theta", 10000.0)}


def olmo3_settings(config: Settings) -> dict[str, Any]:
    """As Gemma 3's, but with one base."""
    settings = gemma3_settings(config)
    if settings and settings["rope_local_base_freq"] != config.section("rope_parameters").section(
        "full_attention"
    ).number("rope_theta", 10000.0):
        raise UnsupportedModel(f"{config.source}: rope_parameters: another rope_theta for layers with a window")
    return settings


def stablelm(config: Settings) -> dict[str, Value]:
    """Of the 12B's parts none is known."""
    _refuse(config, "use_parallel_residual", False, unless=False)
    _refuse(config, "qk_layernorm", False, unless=False)
    return {"use_parallel_residual": False}


def logit_scale(config: Settings) -> dict[str, Value]:
    """Logits are multiplied."""
    return {"logit_scale": single(config.number("logit_scale", 0.0625))}


def command_r(config: Settings) -> dict[str, Value]:
    """max_position_embeddings is what the cache was cut to; model_max_length what the model was trained for."""
    _refuse(config, "use_qk_norm", False, unless=False)
    trained = config.integer("model_max_length", config.integer("max_position_embeddings"))
    return {"context_length": trained, **logit_scale(config)}


def gptneox(config: Settings) -> dict[str, Value]:
    """Attention and feed-forward beside each other, or one after the other."""
    return {"use_parallel_residual": config.flag("use_parallel_residual", True)}


def falcon(config: Settings) -> dict[str, Value]:
    """The first small ones (RW) have ALiBi, and attention and feed-forward one after the other."""
    _refuse(config, "alibi", False, unless=False)
    if not config.flag("new_decoder_architecture", False):
        _refuse(config, "parallel_attn", True, unless=True)
    return {"tensor_data_layout": "jploski"}  # llama.cpp's name for all queries, all keys, all values


def falcon_settings(config: Settings) -> dict[str, Any]:
    """Heads of keys: as many as the file says (40B), one (7B), or one for each head of queries."""
    heads = config.integer("num_attention_heads")
    if config.flag("new_decoder_architecture", False):
        keys = config.integer("num_kv_heads", heads)
    else:
        keys = 1 if config.flag("multi_query", True) else heads
    feed = config.integer("ffn_hidden_size", 4 * config.integer("hidden_size"))
    return {"num_key_value_heads": keys, "intermediate_size": feed}


def gpt2(config: Settings) -> dict[str, Value]:
    """Attention is scaled as everywhere."""
    _refuse(config, "scale_attn_weights", True, unless=True)
    _refuse(config, "scale_attn_by_inverse_layer_idx", False, unless=False)
    return {}


def gpt2_settings(config: Settings) -> dict[str, Any]:
    """The feed-forward network is four times as wide where the file does not say."""
    return {"intermediate_size": config.integer("n_inner", 4 * config.integer("n_embd"))}
