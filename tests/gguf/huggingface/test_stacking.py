"""Experts put into stacks, matrices of heads taken apart; what their configurations may not say."""

from __future__ import annotations

from collections.abc import Callable
from operator import delitem
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import ModelFile, Tensor, dequantize
from puna.gguf.huggingface import open_folder
from tests.gguf.huggingface.folders import safetensors
from tests.models import mixtures

Weights = dict[str, NDArray[np.float32]]


def opened(
    folder: Path, name: str, changes: dict[str, Any] | None = None, change: Callable[[Weights], None] = lambda _: None
) -> tuple[ModelFile, Weights]:
    """A folder of a tiny mixture, and its weights."""
    weights = mixtures.weights(name)
    change(weights)
    mixtures.write_folder(folder, name, changes)
    (folder / "model.safetensors").write_bytes(safetensors(weights))
    return open_folder(folder), weights


def values(tensor: Tensor) -> NDArray[np.float32]:
    return dequantize(tensor.data, tensor.type, tensor.shape)


def in_pieces(tensor: Tensor, rows: int) -> NDArray[np.float32]:
    """Read some rows at a time, as those who convert and pack do."""
    pieces = [tensor.read(i, min(i + rows, tensor.rows)) for i in range(0, tensor.rows, rows)]
    return dequantize(np.concatenate(pieces), tensor.type, tensor.shape)


def test_experts_become_one_stack_whatever_rows_are_read(tmp_path: Path) -> None:
    file, weights = opened(tmp_path, "qwen3moe")
    names = [f"model.layers.1.mlp.experts.{i}.down_proj.weight" for i in range(20)]
    expected = np.stack([weights[name] for name in names])
    tensor = file.tensors["blk.1.ffn_down_exps.weight"]
    assert tensor.shape == expected.shape
    for rows in (1, 48, 64, 150, tensor.rows):
        assert np.array_equal(in_pieces(tensor, rows), expected)


def test_keys_are_turned_over_and_values_are_not(tmp_path: Path) -> None:
    file, weights = opened(tmp_path, "deepseek_v3")
    heads = weights["model.layers.0.self_attn.kv_b_proj.weight"].reshape(4, 64, 64)
    assert "blk.0.attn_kv_b.weight" not in file.tensors
    for rows in (1, 50, 256):
        assert np.array_equal(in_pieces(file.tensors["blk.0.attn_k_b.weight"], rows), heads[:, :32].swapaxes(1, 2))
        assert np.array_equal(in_pieces(file.tensors["blk.0.attn_v_b.weight"], rows), heads[:, 32:])


def test_gates_and_ups_that_lie_in_turn_are_told_apart(tmp_path: Path) -> None:
    file, weights = opened(tmp_path, "gpt_oss")
    both, biases = (weights[f"model.layers.0.mlp.experts.gate_up_proj{end}"] for end in ("", "_bias"))
    for start, part in enumerate(("gate", "up")):
        assert np.array_equal(in_pieces(file.tensors[f"blk.0.ffn_{part}_exps.weight"], 50), both[:, :, start::2].mT)
        assert np.array_equal(values(file.tensors[f"blk.0.ffn_{part}_exps.bias"]), biases[:, start::2])
    down = weights["model.layers.0.mlp.experts.down_proj"]
    assert np.array_equal(values(file.tensors["blk.0.ffn_down_exps.weight"]), down.mT)


def test_the_gate_of_the_shared_expert_is_a_vector(tmp_path: Path) -> None:
    file, weights = opened(tmp_path, "qwen2moe")
    tensor = file.tensors["blk.0.ffn_gate_inp_shexp.weight"]
    assert tensor.shape == (64,)
    assert np.array_equal(values(tensor), weights["model.layers.0.mlp.shared_expert_gate.weight"][0])


def test_an_expert_that_is_missing_or_unlike_the_others_is_named(tmp_path: Path) -> None:
    at = "model.layers.0.mlp.experts.3.up_proj.weight"
    with pytest.raises(InvalidGGUF, match=r"blk\.0\.ffn_up_exps\.weight, experts are missing"):
        opened(tmp_path, "qwen3moe", change=lambda w: delitem(w, at))
    with pytest.raises(InvalidGGUF, match=r"experts of blk\.0\.ffn_up_exps\.weight are not alike"):
        opened(tmp_path, "qwen3moe", change=lambda w: w.update({at: w[at][:-1]}))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("qwen2moe", {"norm_topk_prob": True}, "norm_topk_prob is True"),
        ("qwen3moe", {"norm_topk_prob": False}, "norm_topk_prob is False"),
        ("qwen3moe", {"mlp_only_layers": [0]}, "only experts in every layer"),
        ("qwen2moe", {"decoder_sparse_step": 2}, "only experts in every layer"),
        ("deepseek_v2", {"topk_method": "random"}, "topk_method is 'random'"),
        ("deepseek_v2", {"moe_layer_freq": 2}, "moe_layer_freq is 2"),
        ("deepseek_v2", {"rope_scaling": {"type": "yarn", "factor": 4.0, "mscale": 1.0, "mscale_all_dim": 0.7}},
         "mscale_all_dim is 0.7"),
        ("gpt_oss", {"swiglu_limit": 5.0}, "swiglu_limit is 5.0"),
        ("gpt_oss", {"layer_types": ["full_attention", "full_attention"]}, "only a window in every other layer"),
    ],
)  # fmt: skip
def test_what_gguf_cannot_say_is_refused(name: str, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=message):
        opened(tmp_path, name, changes)


def test_a_number_of_heads_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidGGUF, match="is not 2 heads of 64"):
        opened(tmp_path, "deepseek_v3", {"num_attention_heads": 2, "num_key_value_heads": 2})
