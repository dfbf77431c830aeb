"""Mixtures of experts and latent attention: logits against transformers', bits whatever the batch.

Goldens by `make_goldens.py`. Routing is a choice: `mixtures` says how the models were chosen so that it is stable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, ModelFile, open_model
from puna.models import Chunk, Model, blocks_for
from tests.models import mixtures, tiny
from tests.models.running import Logits, loaded, logits, placeholder_vocabulary, write_gguf
from tests.models.test_llama_cpp import _check
from tests.models.test_oracle import F32_BOUND, cosine, error, golden

NAMES = tuple(mixtures.CONFIGS)


def run(path: Path, name: str, **options: Any) -> Logits:
    """Our logits at the positions that the goldens show."""
    with loaded(path, tokens=tiny.TOKENS, **{"kv_type": "f32", **options}) as model:
        return logits(model, mixtures.prompt(name))[list(tiny.SHOWN)]


@pytest.mark.parametrize("name", NAMES)
def test_f32_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    folder = mixtures.write_folder(tmp_path / "folder", name)
    ours = run(folder, name)
    assert error(ours, golden(name)) < F32_BOUND
    with open_model(folder) as file:
        written = run(write_gguf(tmp_path / "model.gguf", file, None), name)
    assert np.array_equal(written, ours), "through a GGUF file they are other logits"


@pytest.mark.parametrize("name", NAMES)
def test_q8_0_keeps_the_direction_of_the_logits(name: str, tmp_path: Path) -> None:
    with open_model(mixtures.write_folder(tmp_path / "folder", name)) as file:
        ours = run(write_gguf(tmp_path / "model.gguf", file, GGMLType.Q8_0), name, kv_type="f16")
    assert cosine(ours, golden(name)) > 0.9999


@pytest.mark.parametrize("name", ["qwen3moe", "deepseek_v3", "gpt_oss"])
@pytest.mark.parametrize("kind", [GGMLType.F32, GGMLType.Q8_0])
def test_a_tokens_logits_are_the_same_bits_in_any_chunk_batch_and_team(
    name: str, kind: GGMLType, tmp_path: Path
) -> None:
    tokens = mixtures.prompt(name)[:40]
    with open_model(mixtures.write_folder(tmp_path / "folder", name)) as file:
        path = write_gguf(tmp_path / "model.gguf", file, kind)
    with loaded(path, threads=1) as model:
        expected = logits(model, tokens)
    with loaded(path, threads=2, max_outputs=64) as model:
        together = _beside_others(model, tokens)
    assert np.array_equal(together.view(np.uint32), expected.view(np.uint32))


def _beside_others(model: Model, tokens: list[int]) -> NDArray[np.float32]:
    """Logits of all tokens, in chunks of growing length, each beside another sequence's."""
    table, other, found, start = range(2), range(2, 4), [], 0
    for length in (1, 2, 13, 24):
        part = Chunk(tokens[start : start + length], start, table, length)
        beside = Chunk(tokens[::-1][start : start + length], start, other, 0)
        found.append(model.forward([beside, part]).copy())
        start += length
    return np.concatenate(found)


@pytest.mark.parametrize("name", ["deepseek_v2_lite", "deepseek_v3"])
def test_the_cache_of_latent_attention_holds_the_latent_vectors_alone(name: str, tmp_path: Path) -> None:
    config = mixtures.CONFIGS[name]
    with loaded(mixtures.write_folder(tmp_path, name), tokens=32, kv_type="f32") as model:
        rank, rotating, layers = config["kv_lora_rank"], config["qk_rope_head_dim"], config["num_hidden_layers"]
        assert model.kv_block_bytes == layers * 32 * (2 * rank + rotating) * 4
        assert model.num_blocks == blocks_for(32)


@pytest.mark.parametrize("name", ["deepseek_v2_lite", "deepseek_v2"])
def test_old_files_with_one_matrix_for_keys_and_values_give_the_same_logits(name: str, tmp_path: Path) -> None:
    config = mixtures.CONFIGS[name]

    def join(arrays: dict[str, NDArray[np.float32]]) -> None:
        for layer in range(config["num_hidden_layers"]):
            keys, values = (arrays.pop(f"blk.{layer}.attn_{part}_b.weight") for part in "kv")
            joined = np.concatenate([keys.swapaxes(1, 2), values], axis=1)
            arrays[f"blk.{layer}.attn_kv_b.weight"] = joined.reshape(-1, config["kv_lora_rank"])

    size = config["qk_nope_head_dim"] + config["qk_rope_head_dim"]
    old = {
        "deepseek2.attention.head_count_kv": config["num_attention_heads"],
        "deepseek2.attention.key_length": size,
        "deepseek2.attention.value_length": config["v_head_dim"],
    }
    with open_model(mixtures.write_folder(tmp_path / "folder", name)) as file:
        path = write_gguf(tmp_path / "old.gguf", file, GGMLType.F32, metadata=old, change=join)
    assert error(run(path, name), golden(name)) < F32_BOUND


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("qwen2moe", {"num_experts_per_tok": 2}),
        ("deepseek_v2", {"topk_group": 1}),
        ("deepseek_v2", {"topk_method": "greedy"}),
        ("deepseek_v2", {"routed_scaling_factor": 1.0}),
        ("deepseek_v3", {"norm_topk_prob": False}),
        ("deepseek_v3", {"n_group": 1, "topk_group": 1}),
        ("deepseek_v2", {"rope_scaling": None}),
        ("gpt_oss", {"rope_scaling": None}),
        ("gpt_oss", {"sliding_window": 23}),
    ],
)
def test_what_the_goldens_vouch_for_shows_in_them(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    assert error(run(mixtures.write_folder(tmp_path, name, changes), name), golden(name)) > 10 * F32_BOUND


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("qwen2moe", "ffn_gate_inp_shexp.weight"),
        ("deepseek_v3", "exp_probs_b.bias"),
        ("gpt_oss", "attn_sinks.weight"),
        ("gpt_oss", "ffn_gate_inp.bias"),
        ("gpt_oss", "ffn_up_exps.bias"),
        ("gpt_oss", "ffn_down_exps.bias"),
    ],
)
def test_what_files_may_lack_is_not_passed_over_where_they_have_it(name: str, part: str, tmp_path: Path) -> None:
    def drop(arrays: dict[str, NDArray[np.float32]]) -> None:
        del arrays[f"blk.1.{part}"]

    with open_model(mixtures.write_folder(tmp_path / "folder", name)) as file:
        path = write_gguf(tmp_path / "model.gguf", file, GGMLType.F32, change=drop)
    assert error(run(path, name), golden(name)) > 10 * F32_BOUND


def test_experts_of_mxfp4_are_within_the_rounding_of_their_values(tmp_path: Path) -> None:
    def experts_only(name: str) -> GGMLType:
        return GGMLType.MXFP4 if "_exps.weight" in name else GGMLType.F32

    with open_model(mixtures.write_folder(tmp_path / "folder", "gpt_oss")) as file:
        path = write_gguf(tmp_path / "model.gguf", file, None, kind_of=experts_only)
        exact = write_gguf(tmp_path / "exact.gguf", _reopened(path), GGMLType.F32)
    assert cosine(run(path, "gpt_oss"), run(exact, "gpt_oss")) > 0.9999


def _reopened(path: Path) -> ModelFile:
    return open_model(path)


# Where llama.cpp does otherwise than transformers and the models' makers, or knows a model by its size alone.
UNLIKE_LLAMA_CPP: dict[str, dict[str, Any]] = {
    "deepseek_v2_lite": {"num_hidden_layers": 27},  # without it, it looks for the short vector of queries
    "deepseek_v2": {"topk_method": "greedy"},  # it ranks groups as V3 does, by their best two experts
    "gpt_oss": {"rope_scaling": None},  # it widens the bounds of YaRN to whole pairs of dimensions
}


@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_are_those_of_llama_cpp(name: str, tmp_path: Path) -> None:
    size = mixtures.CONFIGS[name]["vocab_size"]
    with open_model(mixtures.write_folder(tmp_path / "folder", name, UNLIKE_LLAMA_CPP.get(name))) as file:
        path = write_gguf(tmp_path / "model.gguf", file, None, metadata=placeholder_vocabulary(size))
    random = np.random.default_rng(7)
    prompts = [random.integers(3, size, random.integers(1, 40)).tolist() for _ in range(5)]
    _check(path, prompts, steps=40, noise=0.04, ties=0.05)


@pytest.mark.parametrize(
    ("key", "value", "error_type", "message"),
    [
        ("attention.key_length", 64, InvalidGGUF, r"\(64, 64, 1\), not \(80, 64, 1\)"),
        ("attention.head_count_kv", 2, InvalidGGUF, r"\(80, 64, 2\)"),
        ("attention.value_length", 80, InvalidGGUF, r"\(80, 80, 1\)"),
        ("attention.key_length_mla", 16, UnsupportedModel, "not multiples of 16"),
        ("attention.kv_lora_rank", 32, InvalidGGUF, r"attn_kv_a_mqa\.weight' is"),
        ("expert_used_count", 17, InvalidGGUF, "17 of 16 experts"),
        ("expert_group_used_count", 5, InvalidGGUF, "in 5 of 4 groups"),
        ("expert_gating_func", 9, UnsupportedModel, "expert_gating_func is 9"),
        ("expert_feed_forward_length", 48, InvalidGGUF, "ffn_gate_exps"),
        ("expert_count", 8, InvalidGGUF, "exp_probs_b"),
    ],
)
def test_metadata_that_contradicts_the_tensors_is_refused_before_a_kernel_runs(
    key: str, value: int, error_type: type[Exception], message: str, tmp_path: Path
) -> None:
    with open_model(mixtures.write_folder(tmp_path / "folder", "deepseek_v3")) as file:
        path = write_gguf(tmp_path / "model.gguf", file, None, metadata={f"deepseek2.{key}": value})
    with pytest.raises(error_type, match=message):
        run(path, "deepseek_v3")


def test_an_importance_matrix_of_experts_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="importance matrix of a mixture of experts"):
        run(mixtures.write_folder(tmp_path, "mixtral"), "mixtral", squares={})
