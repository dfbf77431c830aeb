"""Headers: what is read of them, and the nonsense they may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from puna.errors import InvalidGGUF
from puna.gguf import GGMLType, ModelConfig, Value, open_model
from puna.planner.anatomy import anatomy_of
from tests.models import tiny
from tests.planner.headers import golden, header, llama_8b


def test_experts_count_once_for_a_token_and_all_for_the_memory() -> None:
    anatomy = anatomy_of(golden("mixtral"))
    experts = [matrix for matrix in anatomy.matrices if "_exps" in matrix.name]
    assert {(matrix.copies, matrix.used) for matrix in experts} == {(6, 2)}
    assert anatomy.active_parameters < anatomy.parameters


def test_latent_attention_caches_one_vector_for_all_heads() -> None:
    assert {layer.cached for layer in anatomy_of(golden("deepseek_v3")).attention if layer} == {32 + 16}


def test_windows_alternate_as_the_architecture_has_them() -> None:
    windows = [layer.window for layer in anatomy_of(golden("gemma2")).attention if layer]
    assert windows == [32, None]
    anatomy = anatomy_of(llama_8b(changed={"attention.sliding_window": 4096}))
    assert {layer.window for layer in anatomy.attention if layer} == {4096}


def test_layers_may_differ_and_may_have_no_attention() -> None:
    counts = np.array([8, 0] * 16, np.int32)
    anatomy = anatomy_of(llama_8b(changed={"attention.head_count_kv": counts}))
    assert [bool(layer) for layer in anatomy.attention] == [True, False] * 16
    assert anatomy.cached_per_token == 16 * 8 * 256


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"block_count": 0}, "llama.block_count"),
        ({"block_count": None}, "llama.block_count: missing"),
        ({"block_count": 1 << 40}, "llama.block_count"),
        ({"embedding_length": None}, "llama.embedding_length: missing"),
        ({"context_length": -5}, "llama.context_length"),
        ({"context_length": 1 << 60}, "llama.context_length"),
        ({"attention.head_count": 0}, "head_count"),
        ({"attention.head_count": "many"}, "is not a whole number"),
        ({"attention.head_count": 33}, "does not divide"),
        ({"attention.head_count_kv": np.array([8, 8], np.int32)}, "2 values for 32 layers"),
        ({"expert_count": 4}, "expert_used_count"),
        ({"expert_count": 4, "expert_used_count": 8}, "expert_used_count"),
    ],
)
def test_nonsense_is_named(changed: dict[str, Value | None], named: str) -> None:
    with pytest.raises(InvalidGGUF, match=named):
        anatomy_of(llama_8b(changed=changed))


def test_a_file_without_architecture_or_matrices_is_no_model() -> None:
    with pytest.raises(InvalidGGUF, match=r"general\.architecture"):
        anatomy_of(header({}, {}))
    with pytest.raises(InvalidGGUF, match="matrix"):
        anatomy_of(
            header(
                {"general.architecture": "llama", "llama.block_count": 1, "llama.embedding_length": 8},
                {"output_norm.weight": (8,)},
                GGMLType.F32,
            )
        )


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_every_architecture_that_runs_can_be_planned_for(name: str, tmp_path: Path) -> None:
    """The server asks before it loads: what could run must not be refused."""
    tiny.write_folder(tmp_path, name)
    with open_model(tmp_path) as file:
        anatomy, config = anatomy_of(file), ModelConfig.from_model(file)
    assert anatomy.layers == config.block_count
    assert {layer.heads for layer in anatomy.attention if layer} == {config.head_count}
    assert anatomy.cached_per_token == (
        config.block_count * config.head_count_kv * (config.key_length + config.value_length)
    )
