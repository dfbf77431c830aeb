"""Writes goldens/flops.json: torch's FLOPs of tiny transformers models. `python -m tests.planner.make_goldens`

Needs the extra `oracle` (torch, transformers), and nothing of Puna. For each architecture: the header that a GGUF of
it has (hyperparameters, and tensors under the names that the package `gguf` gives them), and what FlopCounterMode
counts: forward, forward and backward, and both with every layer checkpointed. Attention is eager, so that each product
is seen, and all of a row's scores are computed, those that the mask hides too. What rotary embeddings compute with a
product (an outer one, of positions and frequencies) is not counted: no engine does it for each token.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils.checkpoint import set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

import gguf

GOLDEN = Path(__file__).parent / "goldens" / "flops.json"
TOKENS = 24  # of the sequence; no window is shorter

COMMON: dict[str, Any] = {
    "vocab_size": 160, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 96, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A tiny model of one architecture."""

    config: str  # transformers' class
    architecture: str  # GGUF's name
    settings: dict[str, Any] = field(default_factory=dict)  # beside COMMON
    metadata: dict[str, Any] = field(default_factory=dict)  # beside what every GGUF has


CASES = {
    "llama": Case("LlamaConfig", "llama"),
    "llama_tied": Case("LlamaConfig", "llama", {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "mistral_window": Case(
        "MistralConfig", "llama", {"sliding_window": 64, "head_dim": 32}, {"attention.sliding_window": 64}
    ),
    "qwen2": Case("Qwen2Config", "qwen2"),
    "qwen3": Case("Qwen3Config", "qwen3", {"head_dim": 32}),
    "gemma2": Case(
        "Gemma2Config", "gemma2", {"head_dim": 32, "sliding_window": 32}, {"attention.sliding_window": 32}
    ),
    "gemma3": Case(
        "Gemma3TextConfig", "gemma3", {"head_dim": 32, "sliding_window": 32}, {"attention.sliding_window": 32}
    ),
    "phi3": Case("Phi3Config", "phi3"),
    "falcon": Case("FalconConfig", "falcon", {"new_decoder_architecture": False, "multi_query": True, "bias": False}),
    "gpt2": Case("GPT2Config", "gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "n_inner": 96}),
    "starcoder2": Case("Starcoder2Config", "starcoder2", {"sliding_window": None}),
    "olmo2": Case("Olmo2Config", "olmo2"),
    "mixtral": Case(
        "MixtralConfig", "llama", {"num_local_experts": 6, "num_experts_per_tok": 2},
        {"expert_count": 6, "expert_used_count": 2},
    ),
    "qwen3moe": Case(
        "Qwen3MoeConfig", "qwen3moe",
        {"head_dim": 32, "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 32},
        {"expert_count": 8, "expert_used_count": 3},
    ),
    "deepseek_v3": Case(
        "DeepseekV3Config", "deepseek2",
        {
            "num_key_value_heads": 4, "q_lora_rank": 24, "kv_lora_rank": 32, "qk_rope_head_dim": 16,
            "qk_nope_head_dim": 32, "v_head_dim": 24, "n_routed_experts": 8, "num_experts_per_tok": 3,
            "n_shared_experts": 1, "moe_intermediate_size": 32, "n_group": 2, "topk_group": 1,
            "first_k_dense_replace": 1,
        },
        {
            "attention.key_length": 48, "attention.value_length": 24, "attention.kv_lora_rank": 32,
            "attention.q_lora_rank": 24, "rope.dimension_count": 16, "expert_count": 8, "expert_used_count": 3,
        },
    ),
}  # fmt: skip


def main() -> None:
    """Make all of them anew."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    golden = {name: measure(case) for name, case in CASES.items()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
    for name, found in golden.items():
        print(f"{name:16} {found['forward']:>10} {found['training']:>10} {found['checkpointed']:>10}")


def measure(case: Case) -> dict[str, Any]:
    """The header and the counts of one model."""
    settings = COMMON | case.settings
    if case.architecture == "gpt2":
        settings = {key: value for key, value in settings.items() if not key.startswith(("num_", "hidden_", "inter"))}
    config = getattr(transformers, case.config)(**settings, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").train()
    if hasattr(model.config, "num_experts_per_tok"):
        model.set_experts_implementation("eager")  # one product after another: FlopCounterMode sees no grouped ones
    forward, training = count(model)
    model.activation_checkpointing_enable({"use_reentrant": False})
    with set_checkpoint_early_stop(False):  # else torch leaves out what is not needed of a layer's last product
        _, checkpointed = count(model)
    return {
        "tokens": TOKENS,
        "metadata": header(case, model.config),
        "tensors": tensors(case, model),
        "forward": forward,
        "training": training,
        "checkpointed": checkpointed,
    }


def count(model: Any) -> tuple[int, int]:
    """FLOPs of a forward pass, and of one with its backward pass."""
    ids = torch.arange(3, 3 + TOKENS)[None]
    with FlopCounterMode(display=False) as counter:
        loss = model(ids, labels=ids, use_cache=False).loss
        forward = counter.get_total_flops() - rotary(counter)
        loss.backward()
    return forward, counter.get_total_flops() - rotary(counter)


def rotary(counter: FlopCounterMode) -> int:
    """What rotary embeddings count; their module is one, at the top of the model."""
    found = [sum(ops.values()) for name, ops in counter.get_flop_counts().items() if name.endswith("rotary_emb")]
    return int(sum(found))


def header(case: Case, config: Any) -> dict[str, Any]:
    """GGUF's metadata."""
    own: dict[str, Any] = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None)
        or 4 * config.hidden_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
    }  # fmt: skip
    if case.architecture == "falcon":
        own["attention.head_count_kv"] = 1
    if head := case.settings.get("head_dim"):
        own |= {"attention.key_length": head, "attention.value_length": head}
    own |= case.metadata
    named = {f"{case.architecture}.{key}": value for key, value in own.items()}
    return {"general.architecture": case.architecture, **named}


def tensors(case: Case, model: Any) -> dict[str, list[int]]:
    """GGUF's names and (numpy) shapes of all matrices; each is one stack for all experts."""
    numbers = {value: key for key, value in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(numbers[case.architecture], model.config.num_hidden_layers)
    out: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        shape = list(parameter.shape)
        if len(shape) < 2:
            continue
        if case.architecture == "gpt2" and ".h." in name:  # Conv1D keeps its matrices the other way round
            shape.reverse()
        if ".experts." in name:
            out |= experts(name, shape)
            continue
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            raise SystemExit(f"gguf has no name for {name}")
        out[found] = shape
    return out


def experts(name: str, shape: list[int]) -> dict[str, list[int]]:
    """transformers keeps gate and up in one stack, GGUF in two."""
    layer = re.search(r"\.layers\.(\d+)\.", name)
    assert layer is not None
    count, rows, columns = shape
    if name.endswith("down_proj"):
        return {f"blk.{layer[1]}.ffn_down_exps.weight": [count, rows, columns]}
    return {f"blk.{layer[1]}.ffn_{part}_exps.weight": [count, rows // 2, columns] for part in ("gate", "up")}


if __name__ == "__main__":
    main()
