"""Configurations of tiny models, one or more for each architecture. Imports nothing of Puna.

Windows, trained contexts and factors are such that a prompt of 80 tokens shows them.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

_LLAMA: Config = {
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

_SMALL: Config = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}


def _of(name: str, kind: str, **settings: Any) -> Config:
    """A configuration of the class NAMEForCausalLM."""
    return _SMALL | {"architectures": [f"{name}ForCausalLM"], "model_type": kind} | settings


_GEMMA: Config = {"head_dim": 32, "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
_GEMMA2 = _GEMMA | {
    "hidden_activation": "gelu_pytorch_tanh",
    "num_hidden_layers": 3,
    "sliding_window": 24,
    "query_pre_attn_scalar": 32,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "rope_theta": 10000.0}
_LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0, 1.1, 1.3, 1.6],
    "long_factor": [1.5, 2.0, 4.0, 8.0],
}
_FALCON = {
    "layer_norm_epsilon": 1e-5,
    "alibi": False,
    "bias": False,
    "parallel_attn": True,
    "activation": "gelu",
    "tie_word_embeddings": True,
}
_GPT_NEOX = _SMALL | {
    "architectures": ["GPTNeoXForCausalLM"],
    "model_type": "gpt_neox",
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "num_key_value_heads": None,
    "rotary_pct": 0.25,
    "rotary_emb_base": 10000,
    "use_parallel_residual": True,
    "hidden_size": 128,
}
_COHERE: Config = {"layer_norm_eps": 1e-5, "logit_scale": 0.25, "tie_word_embeddings": True, "rope_theta": 10000.0}

CONFIGS: dict[str, Config] = {
    "llama": _LLAMA,
    "llama_tied": _LLAMA | {"hidden_size": 64, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "llama3_rope": _LLAMA | {"hidden_size": 64, "num_attention_heads": 2, "rope_scaling": _LLAMA3_ROPE},
    "llama_linear_rope": _LLAMA
    | {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}, "num_hidden_layers": 2},
    "llama_yarn": _of("Llama", "llama", rms_norm_eps=1e-5, rope_parameters=_YARN),
    "llama_dynamic": _of(
        "Llama", "llama", rms_norm_eps=1e-5, max_position_embeddings=64,
        rope_parameters={"rope_type": "dynamic", "factor": 3.0, "rope_theta": 10000.0},
    ),
    "llama_bias": _LLAMA | {"attention_bias": True, "num_key_value_heads": 4, "num_hidden_layers": 2},
    "mistral": _MISTRAL,
    "mistral_window": _MISTRAL | {"sliding_window": 48},
    "qwen2": _QWEN2 | {"num_hidden_layers": 2},
    "qwen2_tied": _QWEN2 | {"tie_word_embeddings": True},
    "qwen3": _of("Qwen3", "qwen3", head_dim=32, rms_norm_eps=1e-6, rope_theta=1000000.0),
    "gemma": _of("Gemma", "gemma", **_GEMMA, hidden_act="gelu_pytorch_tanh", num_key_value_heads=1),
    "gemma2": _of("Gemma2", "gemma2", **_GEMMA2, attn_logit_softcapping=5.0, final_logit_softcapping=30.0),
    "gemma3": _of(
        "Gemma3", "gemma3_text", **_GEMMA2 | {"num_hidden_layers": 6},
        rope_theta=1000000.0, rope_local_base_freq=10000.0, rope_scaling={"rope_type": "linear", "factor": 8.0},
    ),
    "phi3": _of("Phi3", "phi3", rms_norm_eps=1e-5, sliding_window=48, pad_token_id=0),
    "phi3_longrope": _of(
        "Phi3", "phi3", rms_norm_eps=1e-5, original_max_position_embeddings=64, rope_scaling=_LONGROPE,
        partial_rotary_factor=0.5, pad_token_id=0,
    ),
    "phi2": _of(
        "Phi", "phi", layer_norm_eps=1e-5, hidden_act="gelu_new", partial_rotary_factor=0.5, num_key_value_heads=4,
    ),
    "falcon_7b": _of("Falcon", "falcon", **_FALCON, multi_query=True, new_decoder_architecture=False),
    "falcon_40b": _of("Falcon", "falcon", **_FALCON, new_decoder_architecture=True, num_kv_heads=2),
    "gpt2": {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "vocab_size": 256, "n_embd": 64, "n_layer": 2,
        "n_head": 4, "n_positions": 96, "n_inner": None, "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
    },
    "gptneox": _GPT_NEOX,
    "gptneox_serial": _GPT_NEOX | {"use_parallel_residual": False, "rotary_pct": 0.5},
    "starcoder2": _of(
        "Starcoder2", "starcoder2", norm_epsilon=1e-5, hidden_act="gelu_pytorch_tanh", use_bias=True,
        tie_word_embeddings=True,
    ),
    "stablelm": _of("StableLm", "stablelm", layer_norm_eps=1e-5, use_qkv_bias=True, partial_rotary_factor=0.5),
    "olmo2": _of("Olmo2", "olmo2", rms_norm_eps=1e-6, rope_theta=500000.0),
    "olmo3": _of(
        "Olmo3", "olmo3", rms_norm_eps=1e-6, rope_theta=500000.0, num_hidden_layers=4, sliding_window=24,
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    ),
    "exaone4": _of("Exaone4", "exaone4", rms_norm_eps=1e-5, sliding_window=None),
    "exaone4_window": _of(
        "Exaone4", "exaone4", rms_norm_eps=1e-5, num_hidden_layers=4, sliding_window=24,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
    ),
    "command_r": _of("Cohere", "cohere", **_COHERE),
    "cohere2": _of("Cohere2", "cohere2", **_COHERE, num_hidden_layers=4, sliding_window=24),
    "granite": _of(
        "Granite", "granite", rms_norm_eps=1e-5, embedding_multiplier=3.0, residual_multiplier=0.4,
        attention_multiplier=0.2, logits_scaling=4.0,
    ),
    "smollm3": _of(
        "SmolLM3", "smollm3", rms_norm_eps=1e-6, num_hidden_layers=4, tie_word_embeddings=True, pad_token_id=0
    ),
    "exaone": _SMALL | {
        "architectures": ["ExaoneForCausalLM"], "model_type": "exaone", "num_layers": 2, "layer_norm_epsilon": 1e-5,
        "activation_function": "silu", "num_hidden_layers": None,
    },
    "internlm2": _of("InternLM2", "internlm2", rms_norm_eps=1e-5, rope_theta=1000000.0),
    "minicpm": _of("MiniCPM", "minicpm", rms_norm_eps=1e-5, scale_emb=6.0, scale_depth=0.7, dim_model_base=32),
    "glm4": _of(
        "Glm4", "glm4", rms_norm_eps=1e-5, head_dim=32, partial_rotary_factor=0.5, attention_bias=True, pad_token_id=0
    ),
}  # fmt: skip

_AS_LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}

# What transformers has no class for is computed by one that has the same formula, from the same numbers.
TWINS: dict[str, Config] = {
    "exaone": CONFIGS["exaone"] | _AS_LLAMA | {"num_hidden_layers": 2, "rms_norm_eps": 1e-5},
    "internlm2": CONFIGS["internlm2"] | _AS_LLAMA,
    "minicpm": _of(
        "Granite", "granite", rms_norm_eps=1e-5, embedding_multiplier=6.0, residual_multiplier=0.7 / 2**0.5,
        attention_multiplier=0.25, logits_scaling=2.0,
    ),
}  # fmt: skip

# Their modules' names, from those of the twin.
RENAMED: dict[str, dict[str, str]] = {
    "exaone": {
        "model.embed_tokens": "transformer.wte",
        "model.norm": "transformer.ln_f",
        "model.layers": "transformer.h",
        "self_attn": "attn.attention",
        "o_proj": "out_proj",
        "input_layernorm": "ln_1",
        "post_attention_layernorm": "ln_2",
        "gate_proj": "c_fc_0",
        "up_proj": "c_fc_1",
        "down_proj": "c_proj",
    },
    "internlm2": {
        "model.embed_tokens": "model.tok_embeddings",
        "lm_head": "output",
        "self_attn.o_proj": "attention.wo",
        "input_layernorm": "attention_norm",
        "post_attention_layernorm": "ffn_norm",
        "mlp.gate_proj": "feed_forward.w1",
        "mlp.up_proj": "feed_forward.w3",
        "mlp.down_proj": "feed_forward.w2",
    },
    "minicpm": {},
}
