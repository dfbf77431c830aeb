"""Tiny mixtures of experts and latent attention for the oracles: configurations and weights, as `tiny` has dense ones.

Routing is a choice: where two experts are nearly as good, rounding decides, and logits jump. `seed` is one for which
no choice that matters to the positions shown is so close that 8-bit weights would change it. Imports nothing of Puna.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.gguf.huggingface.folders import safetensors, write_json
from tests.models import tiny

_SHARED: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "attention_bias": False,
    "tie_word_embeddings": False,
}
_QWEN = _SHARED | {
    "moe_intermediate_size": 32,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "use_sliding_window": False,
}
_DEEPSEEK = _SHARED | {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "n_shared_experts": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "kv_lora_rank": 64,
    "q_lora_rank": 32,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "v_head_dim": 32,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": False,
    "routed_scaling_factor": 1.0,
}
_YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 0.7,
    "mscale_all_dim": 0.7,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "mixtral": _SHARED
    | {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
        "sliding_window": None,
    },
    "qwen2moe": _QWEN
    | {
        "architectures": ["Qwen2MoeForCausalLM"],
        "model_type": "qwen2_moe",
        "shared_expert_intermediate_size": 64,
        "norm_topk_prob": False,
    },
    "qwen3moe": _QWEN
    | {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "head_dim": 32,
        "num_experts": 20,
        "norm_topk_prob": True,
    },
    "deepseek_v2_lite": _DEEPSEEK
    | {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "q_lora_rank": None,
        "topk_method": "greedy",
    },
    "deepseek_v2": _DEEPSEEK
    | {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "n_routed_experts": 16,
        "topk_method": "group_limited_greedy",
        "n_group": 4,
        "topk_group": 2,
        "routed_scaling_factor": 4.0,
        "rope_scaling": _YARN,
    },
    "deepseek_v3": _DEEPSEEK
    | {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "deepseek_v3",
        "n_routed_experts": 16,
        "n_group": 4,
        "topk_group": 2,
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.5,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
    },
    "gpt_oss": _SHARED
    | {
        "architectures": ["GptOssForCausalLM"],
        "model_type": "gpt_oss",
        "rms_norm_eps": 1e-5,
        "attention_bias": True,
        "head_dim": 32,
        "num_local_experts": 8,
        "num_experts_per_tok": 4,
        "sliding_window": 24,
        "layer_types": ["sliding_attention", "full_attention"],
        "swiglu_limit": 7.0,
        "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "truncate": False},
    },
}

SEEDS = {
    "mixtral": 3, "qwen2moe": 4, "qwen3moe": 5, "deepseek_v2_lite": 5, "deepseek_v2": 2, "deepseek_v3": 5, "gpt_oss": 6,
}  # fmt: skip

Shapes = dict[str, tuple[int, ...]]


def shapes(config: dict[str, Any]) -> Shapes:
    """Every tensor of a model, under the names that files have."""
    hidden = config["hidden_size"]
    found: Shapes = {"model.embed_tokens.weight": (config["vocab_size"], hidden), "model.norm.weight": (hidden,)}
    found["lm_head.weight"] = (config["vocab_size"], hidden)
    for index in range(config["num_hidden_layers"]):
        attention = _latent_attention(config) if "kv_lora_rank" in config else _attention(config)
        layer = attention | _feed_forward(config, index)
        layer |= dict.fromkeys(("input_layernorm.weight", "post_attention_layernorm.weight"), (hidden,))
        found |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    return found


def _attention(c: dict[str, Any]) -> Shapes:
    hidden = c["hidden_size"]
    head = c.get("head_dim", hidden // c["num_attention_heads"])
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    found: Shapes = {
        "self_attn.q_proj.weight": (q, hidden),
        "self_attn.k_proj.weight": (kv, hidden),
        "self_attn.v_proj.weight": (kv, hidden),
        "self_attn.o_proj.weight": (hidden, q),
    }
    biased = {"qwen2_moe": "qkv", "gpt_oss": "qkvo"}.get(c["model_type"], "")
    found |= {f"self_attn.{part}_proj.bias": (found[f"self_attn.{part}_proj.weight"][0],) for part in biased}
    if c["model_type"] == "qwen3_moe":
        found |= dict.fromkeys(("self_attn.q_norm.weight", "self_attn.k_norm.weight"), (head,))
    if c["model_type"] == "gpt_oss":
        found["self_attn.sinks"] = (c["num_attention_heads"],)
    return found


def _latent_attention(c: dict[str, Any]) -> Shapes:
    hidden, heads, rank = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    size = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    found: Shapes = {
        "self_attn.kv_a_proj_with_mqa.weight": (rank + c["qk_rope_head_dim"], hidden),
        "self_attn.kv_a_layernorm.weight": (rank,),
        "self_attn.kv_b_proj.weight": (heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), rank),
        "self_attn.o_proj.weight": (hidden, heads * c["v_head_dim"]),
    }
    if c["q_lora_rank"] is None:
        return found | {"self_attn.q_proj.weight": (heads * size, hidden)}
    return found | {
        "self_attn.q_a_proj.weight": (c["q_lora_rank"], hidden),
        "self_attn.q_a_layernorm.weight": (c["q_lora_rank"],),
        "self_attn.q_b_proj.weight": (heads * size, c["q_lora_rank"]),
    }


def _feed_forward(c: dict[str, Any], index: int) -> Shapes:
    kind, hidden = c["model_type"], c["hidden_size"]
    if index < c.get("first_k_dense_replace", 0):
        return _gated("mlp", hidden, c["intermediate_size"])
    if kind == "gpt_oss":
        return _gpt_oss(c)
    (count,) = (int(c[key]) for key in ("num_local_experts", "num_experts", "n_routed_experts") if key in c)
    if kind == "mixtral":
        found: Shapes = {"block_sparse_moe.gate.weight": (count, hidden)}
        for expert in range(count):
            at, feed = f"block_sparse_moe.experts.{expert}", c["intermediate_size"]
            found |= {f"{at}.w1.weight": (feed, hidden), f"{at}.w3.weight": (feed, hidden)}
            found[f"{at}.w2.weight"] = (hidden, feed)
        return found
    found = {"mlp.gate.weight": (count, hidden)}
    for expert in range(count):
        found |= _gated(f"mlp.experts.{expert}", hidden, c["moe_intermediate_size"])
    if kind == "qwen2_moe":
        found |= _gated("mlp.shared_expert", hidden, c["shared_expert_intermediate_size"])
        found["mlp.shared_expert_gate.weight"] = (1, hidden)
    if kind.startswith("deepseek"):
        found |= _gated("mlp.shared_experts", hidden, c["moe_intermediate_size"] * c["n_shared_experts"])
    if kind == "deepseek_v3":
        found["mlp.gate.e_score_correction_bias"] = (count,)
    return found


def _gated(at: str, hidden: int, feed: int) -> Shapes:
    found: Shapes = {f"{at}.gate_proj.weight": (feed, hidden), f"{at}.up_proj.weight": (feed, hidden)}
    return found | {f"{at}.down_proj.weight": (hidden, feed)}


def _gpt_oss(c: dict[str, Any]) -> Shapes:
    count, hidden, feed = c["num_local_experts"], c["hidden_size"], c["intermediate_size"]
    return {
        "mlp.router.weight": (count, hidden),
        "mlp.router.bias": (count,),
        "mlp.experts.gate_up_proj": (count, hidden, 2 * feed),
        "mlp.experts.gate_up_proj_bias": (count, 2 * feed),
        "mlp.experts.down_proj": (count, feed, hidden),
        "mlp.experts.down_proj_bias": (count, hidden),
    }


def weights(name: str, changes: dict[str, Any] | None = None) -> tiny.Weights:
    """Random weights, drawn and scaled as `tiny` does."""
    config = CONFIGS[name] | (changes or {})
    residual = np.float32(1 / np.sqrt(2 * config["num_hidden_layers"]))
    drawn = {key: _draw(f"{name} {SEEDS.get(name, 0)} {key}", shape) for key, shape in shapes(config).items()}
    return {key: w * residual if key.endswith(_TO_RESIDUAL) else w for key, w in drawn.items()}


_TO_RESIDUAL = ("o_proj.weight", "down_proj.weight", "w2.weight", "down_proj", "down_proj_bias")


def _draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = tiny._random(name).standard_normal(shape)
    if len(shape) == 3:  # of experts, stored (experts, columns, rows)
        values /= np.sqrt(shape[1])
    elif len(shape) == 2 and not name.endswith("_bias"):
        values /= 1 if "embed_tokens" in name else np.sqrt(shape[1])
    elif name.endswith("norm.weight"):
        values = 1 + 0.2 * values
    else:
        values *= 0.5  # a bias
    return values.astype(np.float32)


def prompt(name: str) -> list[int]:
    """Token ids, tiny.TOKENS of them."""
    random = tiny._random(f"{name} {SEEDS.get(name, 0)} prompt")
    return [int(token) for token in random.integers(0, CONFIGS[name]["vocab_size"], tiny.TOKENS)]


def write_folder(folder: Path, name: str, changes: dict[str, Any] | None = None) -> Path:
    """A Hugging Face folder without a tokenizer."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "config.json", CONFIGS[name] | (changes or {}))
    (folder / "model.safetensors").write_bytes(safetensors(weights(name, changes)))
    return folder
