"""What architectures with experts or latent attention have of their own: GGUF keys, settings to work out.

Each refuses what its forward pass in `puna.models` does not do. Knows nothing of tensors.
"""

from __future__ import annotations

from typing import Any

from puna.errors import UnsupportedModel
from puna.gguf.huggingface.settings import Settings, single
from puna.gguf.model_file import Value

_SOFTMAX, _SIGMOID = 1, 2  # llama.cpp's expert_gating_func


def _refuse(config: Settings, key: str, value: object, only: str) -> None:
    raise UnsupportedModel(f"{config.source}: {key} is {value!r:.40}; {only}")


def _counts(config: Settings, experts: str, used: str = "num_experts_per_tok") -> dict[str, Value]:
    return {"expert_count": config.integer(experts), "expert_used_count": config.integer(used)}


def mixtral(config: Settings) -> dict[str, Value]:
    """Each expert is as wide as another model's whole feed-forward network."""
    return _counts(config, "num_local_experts")


def _qwen(config: Settings, *, normalised: bool) -> dict[str, Value]:
    """GGUF knows these with experts in every layer, and either with weights that add up to 1 or without."""
    only = f"GGUF's architecture has {'normalised' if normalised else 'unnormalised'} weights"
    if config.flag("norm_topk_prob", False) is not normalised:
        _refuse(config, "norm_topk_prob", not normalised, only)
    if config.get("mlp_only_layers") or config.integer("decoder_sparse_step", 1) != 1:
        _refuse(config, "mlp_only_layers", config.get("mlp_only_layers"), "only experts in every layer are supported")
    length = config.integer("moe_intermediate_size")
    return _counts(config, "num_experts") | {"expert_feed_forward_length": length}


def qwen2moe(config: Settings) -> dict[str, Value]:
    """And one expert that every token takes."""
    shared = config.integer("shared_expert_intermediate_size")
    return _qwen(config, normalised=False) | {"expert_shared_feed_forward_length": shared}


def qwen3moe(config: Settings) -> dict[str, Value]:
    """Without one."""
    return _qwen(config, normalised=True)


def gpt_oss(config: Settings) -> dict[str, Value]:
    """The bounds of its SwiGLU are part of the architecture in GGUF."""
    if config.number("swiglu_limit", 7.0) != 7.0:
        _refuse(config, "swiglu_limit", config.get("swiglu_limit"), "only 7 is supported")
    kinds = config.get("layer_types")
    alternating = ["sliding_attention", "full_attention"] * config.integer("num_hidden_layers")
    if kinds is not None and kinds != alternating[: config.integer("num_hidden_layers")]:
        _refuse(config, "layer_types", kinds, "only a window in every other layer is supported")
    length = {"expert_feed_forward_length": config.integer("intermediate_size")}
    return _counts(config, "num_local_experts") | length


def gpt_oss_settings(config: Settings) -> dict[str, Any]:
    """That YaRN's ramp is not widened to whole pairs of dimensions is part of the architecture."""
    key, scaling = _scaling(config)
    if scaling.flag("truncate", False):
        _refuse(scaling, "truncate", True, "only false is supported")
    return {key: {name: value for name, value in scaling.values.items() if name != "truncate"}}


def deepseek2(config: Settings) -> dict[str, Value]:
    """Latent attention as llama.cpp has it: one head of keys and values, which are the latent vector."""
    rank, rotating = config.integer("kv_lora_rank"), config.integer("qk_rope_head_dim")
    keys: dict[str, Value] = {
        "attention.head_count_kv": 1,
        "attention.key_length": rank + rotating,
        "attention.value_length": rank,
        "attention.key_length_mla": config.integer("qk_nope_head_dim") + rotating,
        "attention.value_length_mla": config.integer("v_head_dim"),
        "attention.kv_lora_rank": rank,
    }
    if config.get("q_lora_rank") is not None:
        keys["attention.q_lora_rank"] = config.integer("q_lora_rank")
    if config.get("mscale_all_dim") is not None:
        keys["rope.scaling.yarn_log_multiplier"] = single(0.1 * config.number("mscale_all_dim"))
    return keys | _deepseek_experts(config)


def _deepseek_experts(config: Settings) -> dict[str, Value]:
    sigmoid = config.get("model_type") == "deepseek_v3"
    if config.integer("moe_layer_freq", 1) != 1:
        _refuse(config, "moe_layer_freq", config.get("moe_layer_freq"), "only experts in every layer are supported")
    method = config.text("topk_method") or ("noaux_tc" if sigmoid else "greedy")
    if method not in (("noaux_tc",) if sigmoid else ("greedy", "group_limited_greedy")):
        _refuse(config, "topk_method", method, "it is not one of the architecture's")
    keys = _counts(config, "n_routed_experts") | {
        "leading_dense_block_count": config.values.get("first_k_dense_replace") or 0,
        "expert_feed_forward_length": config.integer("moe_intermediate_size"),
        "expert_shared_count": config.integer("n_shared_experts"),
        "expert_weights_scale": single(config.number("routed_scaling_factor", 1.0)),
        "expert_weights_norm": sigmoid and config.flag("norm_topk_prob", True),
        "expert_gating_func": _SIGMOID if sigmoid else _SOFTMAX,
    }
    if method == "greedy" or config.integer("n_group", 1) == 1:
        return keys
    groups = {"expert_group_count": config.integer("n_group"), "expert_group_used_count": config.integer("topk_group")}
    return keys | groups


def deepseek2_settings(config: Settings) -> dict[str, Any]:
    """Of a head only one part rotates. YaRN's mscale, if it is mscale_all_dim, changes attention's scale alone."""
    derived: dict[str, Any] = {"head_dim": config.integer("qk_rope_head_dim")}
    key, scaling = _scaling(config)
    of_all = scaling.get("mscale_all_dim")
    if of_all is None and scaling.get("mscale") is None:
        return derived
    if of_all != scaling.get("mscale") or not of_all:
        _refuse(scaling, "mscale_all_dim", of_all, "it must be mscale")
    plain = {name: value for name, value in scaling.values.items() if not name.startswith("mscale")}
    return derived | {key: plain, "mscale_all_dim": scaling.number("mscale_all_dim")}


def _scaling(config: Settings) -> tuple[str, Settings]:
    key = "rope_parameters" if config.get("rope_parameters") is not None else "rope_scaling"
    return key, config.section(key)
