"""The table of Hugging Face architectures: GGUF's name for each, and for each of its tensors.

A new architecture is a new row; the names on the left are those of transformers' modules, `{}` is the layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from puna.gguf.huggingface import mixtures
from puna.gguf.huggingface import peculiarities as own
from puna.gguf.huggingface.architecture import (
    Architecture,
    grouped_values,
    paired_grouped_keys,
    paired_grouped_queries,
    paired_keys,
    paired_queries,
    ungrouped,
)
from puna.gguf.huggingface.stacking import split_gates, split_latent

# The class in config.json's `architectures`.
ARCHITECTURES: dict[str, Architecture] = {}

# Tensors that old checkpoints carry and nobody needs: they are computed.
COMPUTED_TENSORS = re.compile(r".*\.(rotary_emb\.inv_freq|(attn|attention)\.(masked_)?bias)")


def _tensors(modules: Mapping[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    """Weights and biases of modules."""
    found: dict[str, str | tuple[str, ...]] = {}
    for module, names in modules.items():
        for kind in ("weight", "bias"):
            several = tuple(f"{name}.{kind}" for name in ([names] if isinstance(names, str) else names))
            found[f"{module}.{kind}"] = several[0] if isinstance(names, str) else several
    return found


def _layers(prefix: str, modules: Mapping[str, str | tuple[str, ...]]) -> dict[str, str | tuple[str, ...]]:
    """Those of a layer, whose names in GGUF begin with blk.{}."""
    return _tensors(
        {
            f"{prefix}.{{}}.{module}": f"blk.{{}}.{names}"
            if isinstance(names, str)
            else tuple(f"blk.{{}}.{name}" for name in names)
            for module, names in modules.items()
        }
    )


_ENDS = _tensors({"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"})
_ATTENTION = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
}
_QK_NORM = {"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm"}
_GATED = {"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
_PRE_NORM = _ATTENTION | _GATED | {"post_attention_layernorm": "ffn_norm"}
_DECODER = _ENDS | _layers("model.layers", _PRE_NORM)
_PAIRED = {"attn_q": paired_queries, "attn_k": paired_keys}

ARCHITECTURES |= {
    "LlamaForCausalLM": Architecture("llama", _DECODER, _PAIRED),
    "MistralForCausalLM": Architecture("llama", _DECODER, _PAIRED, window_everywhere=True),
    "Qwen2ForCausalLM": Architecture("qwen2", _DECODER),
    "Qwen3ForCausalLM": Architecture("qwen3", _DECODER | _layers("model.layers", _QK_NORM), defaults={"head_dim": 128}),
    "SmolLM3ForCausalLM": Architecture(
        "smollm3", _DECODER, _PAIRED, own.smollm3, defaults={"rope_theta": 2e6}, tied=True
    ),
    "GraniteForCausalLM": Architecture("granite", _DECODER, _PAIRED, own.granite),
    "MiniCPMForCausalLM": Architecture("minicpm", _DECODER, _PAIRED, own.minicpm, tied=True),
}

# --- norms after attention and feed-forward -----------------------------------------------------------

_GEMMA2_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_POST_NORMS = {
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_POST_NORM = _ENDS | _layers("model.layers", _ATTENTION | _GATED | _QK_NORM | _POST_NORMS)
_GEMMA_DEFAULTS = {"head_dim": 256, "hidden_activation": "gelu_pytorch_tanh"}
# "gelu" in Gemma's files means the tanh approximation.
_GEMMA_ACTIVATIONS = ("gelu_pytorch_tanh", "gelu", "gelu_new")
_GLM4 = _ATTENTION | {
    "post_self_attn_layernorm": "post_attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "post_mlp_layernorm": "post_ffw_norm",
}

ARCHITECTURES |= {
    "GemmaForCausalLM": Architecture(
        "gemma", _DECODER, activations=_GEMMA_ACTIVATIONS, defaults={"head_dim": 256}, norms_less_one=True, tied=True
    ),
    "Gemma2ForCausalLM": Architecture(
        "gemma2", _ENDS | _layers("model.layers", _PRE_NORM | _GEMMA2_NORMS), keys=own.gemma2,
        settings={"hidden_act": "hidden_activation"}, defaults=_GEMMA_DEFAULTS, activations=_GEMMA_ACTIVATIONS,
        norms_less_one=True, tied=True, window_in_some=True,
    ),
    "Gemma3ForCausalLM": Architecture(
        "gemma3", _ENDS | _layers("model.layers", _PRE_NORM | _QK_NORM | _GEMMA2_NORMS), keys=own.gemma3,
        settings={"hidden_act": "hidden_activation"}, derived=own.gemma3_settings,
        defaults=_GEMMA_DEFAULTS | {"rope_theta": 1e6, "num_attention_heads": 8, "num_key_value_heads": 4},
        activations=_GEMMA_ACTIVATIONS, norms_less_one=True, tied=True, window_in_some=True,
    ),
    "Olmo2ForCausalLM": Architecture("olmo2", _POST_NORM),
    "Olmo3ForCausalLM": Architecture(
        "olmo2", _POST_NORM, derived=own.olmo3_settings, defaults={"rope_theta": 5e5}, window_in_some=True
    ),
    "Exaone4ForCausalLM": Architecture("exaone4", _POST_NORM, window_in_some=True),
    "Glm4ForCausalLM": Architecture(
        "glm4", _ENDS | _layers("model.layers", _GLM4), defaults={"partial_rotary_factor": 0.5}, rotates_in_part=True
    ),
}  # fmt: skip

# --- LayerNorm, biases, parallel residuals ------------------------------------------------------------

_PHI2 = _tensors({"model.embed_tokens": "token_embd", "model.final_layernorm": "output_norm", "lm_head": "output"})
_PHI2_LAYER = _ATTENTION | {"self_attn.dense": "attn_output", "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down"}
_PHI3_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_STARCODER2_LAYER = _ATTENTION | {
    "post_attention_layernorm": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
_NEOX = _tensors(
    {
        "gpt_neox.embed_in": "token_embd",
        "gpt_neox.final_layer_norm": "output_norm",
        "embed_out": "output",
        "lm_head": "output",
    }
)
_NEOX_LAYER = {
    "input_layernorm": "attn_norm",
    "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}
_FALCON = _tensors(
    {"transformer.word_embeddings": "token_embd", "transformer.ln_f": "output_norm", "lm_head": "output"}
)
_FALCON_LAYER = {
    "input_layernorm": "attn_norm",  # of the 7B; the 40B has the two that follow
    "ln_mlp": "attn_norm",
    "ln_attn": "attn_norm_2",
    "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_output",
    "mlp.dense_h_to_4h": "ffn_up",
    "mlp.dense_4h_to_h": "ffn_down",
}
_GPT2 = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"}
_GPT2_LAYER = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}

ARCHITECTURES |= {
    "PhiForCausalLM": Architecture(
        "phi2", _PHI2 | _layers("model.layers", _PHI2_LAYER), activations=("gelu_new",), epsilon="layer_norm_eps",
        defaults={"partial_rotary_factor": 0.5}, layer_norm=True, rotates_in_part=True,
    ),
    "Phi3ForCausalLM": Architecture(
        "phi3", _ENDS | _layers("model.layers", _PHI3_LAYER), window_everywhere=True, rotates_in_part=True
    ),
    "Starcoder2ForCausalLM": Architecture(
        "starcoder2", _ENDS | _layers("model.layers", _STARCODER2_LAYER), activations=("gelu_pytorch_tanh",),
        epsilon="norm_epsilon", layer_norm=True, tied=True, window_everywhere=True,
    ),
    "StableLmForCausalLM": Architecture(
        "stablelm", _DECODER, keys=own.stablelm, epsilon="layer_norm_eps",
        defaults={"partial_rotary_factor": 0.25}, layer_norm=True, rotates_in_part=True,
    ),
    "CohereForCausalLM": Architecture(
        "command-r", _DECODER, keys=own.command_r, epsilon="layer_norm_eps", defaults={"rope_theta": 5e5},
        layer_norm=True, tied=True,
    ),
    "Cohere2ForCausalLM": Architecture(
        "cohere2", _DECODER, keys=own.logit_scale, epsilon="layer_norm_eps", layer_norm=True, tied=True,
        window_in_some=True,
    ),
    "GPTNeoXForCausalLM": Architecture(
        "gptneox", _NEOX | _layers("gpt_neox.layers", _NEOX_LAYER), {"attn_qkv": ungrouped}, own.gptneox,
        {"partial_rotary_factor": "rotary_pct", "rope_theta": "rotary_emb_base"}, activations=("gelu",),
        epsilon="layer_norm_eps", layer_norm=True, rotates_in_part=True,
    ),
    "FalconForCausalLM": Architecture(
        "falcon", _FALCON | _layers("transformer.h", _FALCON_LAYER), {"attn_qkv": ungrouped}, own.falcon,
        {"hidden_act": "activation"}, derived=own.falcon_settings, activations=("gelu",),
        epsilon="layer_norm_epsilon", defaults={"max_position_embeddings": 2048}, layer_norm=True, tied=True,
    ),
    "GPT2LMHeadModel": Architecture(
        "gpt2",
        _tensors({"lm_head": "output"} | _GPT2 | {f"transformer.{name}": gguf for name, gguf in _GPT2.items()})
        | _layers("transformer.h", _GPT2_LAYER) | _layers("h", _GPT2_LAYER), {}, own.gpt2,
        {"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head",
         "max_position_embeddings": "n_positions", "hidden_act": "activation_function"},
        derived=own.gpt2_settings, activations=("gelu_new", "gelu_pytorch_tanh"), epsilon="layer_norm_epsilon",
        layer_norm=True, tied=True, rotates=False,
        transposed=frozenset(("attn_qkv", "attn_output", "ffn_up", "ffn_down")),
    ),
}  # fmt: skip

# --- Llama's forward pass under other names -----------------------------------------------------------

_INTERNLM2 = _tensors({"model.tok_embeddings": "token_embd", "model.norm": "output_norm", "output": "output"})
_INTERNLM2_LAYER: dict[str, str | tuple[str, ...]] = {
    "attention_norm": "attn_norm",
    "attention.wqkv": ("attn_q", "attn_k", "attn_v"),
    "attention.wo": "attn_output",
    "ffn_norm": "ffn_norm",
    "feed_forward.w1": "ffn_gate",
    "feed_forward.w3": "ffn_up",
    "feed_forward.w2": "ffn_down",
}
_EXAONE = _tensors({"transformer.wte": "token_embd", "transformer.ln_f": "output_norm", "lm_head": "output"})
_EXAONE_LAYER = {
    "ln_1": "attn_norm",
    "attn.attention.q_proj": "attn_q",
    "attn.attention.k_proj": "attn_k",
    "attn.attention.v_proj": "attn_v",
    "attn.attention.out_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc_0": "ffn_gate",
    "mlp.c_fc_1": "ffn_up",
    "mlp.c_proj": "ffn_down",
}

ARCHITECTURES |= {
    "InternLM2ForCausalLM": Architecture(
        "internlm2", _INTERNLM2 | _layers("model.layers", _INTERNLM2_LAYER),
        {"attn_q": paired_grouped_queries, "attn_k": paired_grouped_keys, "attn_v": grouped_values},
    ),
    "ExaoneForCausalLM": Architecture(
        "exaone", _EXAONE | _layers("transformer.h", _EXAONE_LAYER), epsilon="layer_norm_epsilon",
        settings={"num_hidden_layers": "num_layers", "hidden_act": "activation_function"},
    ),
}  # fmt: skip

# --- mixtures of experts, latent attention ------------------------------------------------------------

_EXPERTS = {
    "mlp.gate": "ffn_gate_inp",
    "mlp.experts.{}.gate_proj": "ffn_gate_exps",
    "mlp.experts.{}.up_proj": "ffn_up_exps",
    "mlp.experts.{}.down_proj": "ffn_down_exps",
}
_MIXTRAL = {
    "block_sparse_moe.gate": "ffn_gate_inp",
    "block_sparse_moe.experts.{}.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.{}.w3": "ffn_up_exps",
    "block_sparse_moe.experts.{}.w2": "ffn_down_exps",
}
_SHARED_EXPERT = {
    "mlp.shared_expert.gate_proj": "ffn_gate_shexp",
    "mlp.shared_expert.up_proj": "ffn_up_shexp",
    "mlp.shared_expert.down_proj": "ffn_down_shexp",
    "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
}
_DEEPSEEK = {
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    **{name.replace("expert", "experts"): part for name, part in _SHARED_EXPERT.items() if "proj" in name},
}
_GPT_OSS_LAYER = _ATTENTION | {"post_attention_layernorm": "post_attention_norm", "mlp.router": "ffn_gate_inp"}
_GPT_OSS = {
    "model.layers.{}.self_attn.sinks": "blk.{}.attn_sinks.weight",
    "model.layers.{}.mlp.experts.gate_up_proj": "blk.{}.ffn_gate_up_exps.weight",
    "model.layers.{}.mlp.experts.gate_up_proj_bias": "blk.{}.ffn_gate_up_exps.bias",
    "model.layers.{}.mlp.experts.down_proj": "blk.{}.ffn_down_exps.weight",
    "model.layers.{}.mlp.experts.down_proj_bias": "blk.{}.ffn_down_exps.bias",
}
_DEEPSEEK_TENSORS = (
    _ENDS
    | _layers("model.layers", _PRE_NORM | _EXPERTS | _DEEPSEEK)
    | {"model.layers.{}.mlp.gate.e_score_correction_bias": "blk.{}.exp_probs_b.bias"}
)

ARCHITECTURES |= {
    "MixtralForCausalLM": Architecture(
        "llama", _ENDS | _layers("model.layers", _PRE_NORM | _MIXTRAL), _PAIRED, mixtures.mixtral,
        window_everywhere=True,
    ),
    "Qwen2MoeForCausalLM": Architecture(
        "qwen2moe", _ENDS | _layers("model.layers", _PRE_NORM | _EXPERTS | _SHARED_EXPERT), keys=mixtures.qwen2moe,
        flat=frozenset(("ffn_gate_inp_shexp",)),
    ),
    "Qwen3MoeForCausalLM": Architecture(
        "qwen3moe", _ENDS | _layers("model.layers", _PRE_NORM | _QK_NORM | _EXPERTS), keys=mixtures.qwen3moe,
    ),
    **{
        name: Architecture(
            "deepseek2", _DEEPSEEK_TENSORS, keys=mixtures.deepseek2, derived=mixtures.deepseek2_settings,
            rearrange=split_latent,
        )
        for name in ("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM")
    },
    "GptOssForCausalLM": Architecture(
        "gpt-oss", _ENDS | _layers("model.layers", _GPT_OSS_LAYER) | _GPT_OSS, keys=mixtures.gpt_oss,
        derived=mixtures.gpt_oss_settings, window_in_some=True, rearrange=split_gates,
    ),
}  # fmt: skip
