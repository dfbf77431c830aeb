"""The table of Hugging Face architectures: GGUF's name for each, and for each of its tensors.

A new architecture is a new row; the names on the left are those of transformers' modules, `{}` is the layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Architecture:
    """How one class of transformers becomes one architecture of GGUF."""

    name: str
    tensors: Mapping[str, str]
    # GGUF tensors whose rows are reordered: transformers rotates elements i and i + d/2 of a head, llama.cpp
    # (for llama) 2i and 2i + 1. The value is the configuration's key for the number of heads.
    permuted: Mapping[str, str] = field(default_factory=dict)
    # The configuration's sliding_window holds for every layer.
    sliding_window: bool = False

    def gguf_name(self, name: str) -> str | None:
        """GGUF's name of a tensor of transformers; None when the table has none."""
        layer = _LAYER.search(name)
        if layer is None:
            return self.tensors.get(name)
        pattern = self.tensors.get(f"{name[: layer.start(1)]}{{}}{name[layer.end(1) :]}")
        return None if pattern is None else pattern.format(int(layer[1]))


_LAYER = re.compile(r"\.layers\.(\d{1,5})\.")

_DECODER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "model.layers.{}.input_layernorm.weight": "blk.{}.attn_norm.weight",
    "model.layers.{}.self_attn.q_proj.weight": "blk.{}.attn_q.weight",
    "model.layers.{}.self_attn.k_proj.weight": "blk.{}.attn_k.weight",
    "model.layers.{}.self_attn.v_proj.weight": "blk.{}.attn_v.weight",
    "model.layers.{}.self_attn.o_proj.weight": "blk.{}.attn_output.weight",
    "model.layers.{}.self_attn.q_proj.bias": "blk.{}.attn_q.bias",
    "model.layers.{}.self_attn.k_proj.bias": "blk.{}.attn_k.bias",
    "model.layers.{}.self_attn.v_proj.bias": "blk.{}.attn_v.bias",
    "model.layers.{}.self_attn.o_proj.bias": "blk.{}.attn_output.bias",
    "model.layers.{}.post_attention_layernorm.weight": "blk.{}.ffn_norm.weight",
    "model.layers.{}.mlp.gate_proj.weight": "blk.{}.ffn_gate.weight",
    "model.layers.{}.mlp.up_proj.weight": "blk.{}.ffn_up.weight",
    "model.layers.{}.mlp.down_proj.weight": "blk.{}.ffn_down.weight",
}

_LLAMA_ROPE = {"attn_q": "num_attention_heads", "attn_k": "num_key_value_heads"}

# The class in config.json's `architectures`.
ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": Architecture("llama", _DECODER, _LLAMA_ROPE),
    "MistralForCausalLM": Architecture("llama", _DECODER, _LLAMA_ROPE, sliding_window=True),
    "Qwen2ForCausalLM": Architecture("qwen2", _DECODER),
}

# Tensors that old checkpoints carry and nobody needs: they are computed.
COMPUTED_TENSORS = re.compile(r".*\.(rotary_emb\.inv_freq|attn\.masked_bias|attn\.bias)")
