"""ModelConfig: defaults, derived values, and metadata that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, GGUFWriter, ModelConfig, RopeConfig, ValueType
from puna.gguf.reader import open_gguf

BASE: dict[str, Any] = {
    "llama.context_length": 2048,
    "llama.embedding_length": 64,
    "llama.block_count": 2,
    "llama.feed_forward_length": 128,
    "llama.attention.head_count": 8,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
}


def config_of(folder: Path, changes: dict[str, Any], *, rows: int = 10, kind: GGMLType = GGMLType.F16) -> ModelConfig:
    """The configuration of BASE with changes; None takes a key away."""
    writer = GGUFWriter(None if "general.architecture" in changes else "llama")
    for key, value in (BASE | changes).items():
        if value is not None:
            writer.add(key, value)
    writer.add_tensor("token_embd.weight", (rows, 64), kind, lambda: np.zeros(kind.nbytes((rows, 64)), np.uint8))
    writer.add_tensor("output_norm.weight", (64,), GGMLType.F32, np.zeros(64, np.float32))
    path = folder / "a-model.gguf"
    writer.write(path)
    with open_gguf(path) as file:
        return ModelConfig.from_model(file)


def test_defaults_are_llama_cpps(tmp_path: Path) -> None:
    config = config_of(tmp_path, {})
    assert config == ModelConfig(
        architecture="llama",
        name="a-model",
        context_length=2048,
        embedding_length=64,
        block_count=2,
        feed_forward_length=128,
        head_count=8,
        head_count_kv=8,
        key_length=8,
        value_length=8,
        norm_epsilon=float(np.float32(1e-5)),
        rope=RopeConfig(8, 10000.0, "none", 1.0, 2048),
        vocab_size=10,
        sliding_window=None,
        causal=True,
        pooling="none",
        labels=0,
        file_type="F16",
        parameter_count=10 * 64 + 64,
    )


def test_what_the_file_says_is_taken(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        {
            "general.name": "Name",
            "general.file_type": 15,
            "llama.attention.head_count_kv": 2,
            "llama.attention.key_length": 32,
            "llama.attention.value_length": 16,
            "llama.attention.sliding_window": 512,
            "llama.rope.dimension_count": 16,
            "llama.rope.freq_base": 5e5,
            "llama.rope.scaling.type": "yarn",
            "llama.rope.scaling.factor": 4.0,
            "llama.rope.scaling.original_context_length": 512,
            "tokenizer.ggml.tokens": [str(i) for i in range(10)],
        },
    )
    assert (config.name, config.file_type, config.head_count_kv) == ("Name", "Q4_K_M", 2)
    assert (config.key_length, config.value_length, config.sliding_window) == (32, 16, 512)
    assert config.rope == RopeConfig(16, 500000.0, "yarn", 4.0, 512)


def test_values_alike_in_every_layer_are_one_value(tmp_path: Path) -> None:
    assert config_of(tmp_path, {"llama.attention.head_count_kv": [4, 4]}).head_count_kv == 4


def test_values_that_differ_by_layer_are_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="head_count_kv differs from layer to layer"):
        config_of(tmp_path, {"llama.attention.head_count_kv": [4, 8]})


def test_a_window_is_that_of_the_layers_the_file_or_the_architecture_says(tmp_path: Path) -> None:
    def windows(**pattern: Any) -> list[int | None]:
        keys = {f"llama.attention.{key}": value for key, value in ({"sliding_window": 8} | pattern).items()}
        config = config_of(tmp_path, keys)
        return [config.window(layer, every=2) for layer in range(config.block_count)]

    assert windows() == [8, None]
    assert windows(sliding_window_pattern=[False, True]) == [None, 8]
    assert windows(sliding_window_pattern=1) == [None, None]
    assert windows(sliding_window_pattern=3) == [8, 8]
    assert windows(sliding_window=0) == [None, None]


def test_multipliers_and_caps_are_taken_and_zero_is_none(tmp_path: Path) -> None:
    changes = {"attention.scale": 0.25, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 0.0}
    changes |= {"embedding_scale": 12.0, "residual_scale": 0.5, "logit_scale": 8.0}
    config = config_of(tmp_path, {f"llama.{key}": value for key, value in changes.items()})
    assert (config.attention_scale, config.attention_softcap, config.logit_softcap) == (0.25, 50.0, None)
    assert (config.embedding_scale, config.residual_scale, config.logit_scale) == (12.0, 0.5, 8.0)


def test_old_files_linear_scaling_is_understood(tmp_path: Path) -> None:
    assert config_of(tmp_path, {"llama.rope.scale_linear": 2.0}).rope.scaling_type == "linear"
    assert config_of(tmp_path, {"llama.rope.scale_linear": 2.0}).rope.factor == 2.0
    assert config_of(tmp_path, {"llama.rope.scaling.factor": 8.0}).rope.scaling_type == "linear"


def test_a_factor_without_scaling_does_nothing(tmp_path: Path) -> None:
    changes = {"llama.rope.scaling.type": "none", "llama.rope.scaling.factor": 8.0}
    assert config_of(tmp_path, changes).rope.factor == 1.0


@pytest.mark.parametrize(("number", "pooling"), list(enumerate(("none", "mean", "cls", "last", "rank"))))
def test_pooling_types_are_named_in_llama_cpps_order(number: int, pooling: str, tmp_path: Path) -> None:
    assert config_of(tmp_path, {"llama.pooling_type": number}).pooling == pooling


def test_an_unknown_pooling_type_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="pooling_type is 5"):
        config_of(tmp_path, {"llama.pooling_type": 5})


def test_an_unknown_rope_scaling_is_unsupported(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="'spiral'"):
        config_of(tmp_path, {"llama.rope.scaling.type": "spiral"})


def test_layer_norms_epsilon_has_a_key_of_its_own(tmp_path: Path) -> None:
    changes = {"llama.attention.layer_norm_rms_epsilon": None, "llama.attention.layer_norm_epsilon": 1e-3}
    assert config_of(tmp_path, changes).norm_epsilon == float(np.float32(1e-3))


def test_the_file_type_is_that_of_most_numbers_where_the_file_does_not_say(tmp_path: Path) -> None:
    assert config_of(tmp_path, {}, kind=GGMLType.Q8_0).file_type == "Q8_0"
    assert config_of(tmp_path, {"general.file_type": 1024 + 7}).file_type == "Q8_0"
    assert config_of(tmp_path, {"general.file_type": 999}).file_type == "F16"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"general.architecture": 3}, r"general\.architecture"),
    ({"general.architecture": ""}, r"general\.architecture"),
    ({"general.name": 1}, r"general\.name"),
    ({"general.file_type": "Q4_0"}, r"general\.file_type"),
    *(({key: None}, f"{key}: missing") for key in BASE),
    ({"llama.block_count": 0}, r"llama\.block_count: 0"),
    ({"llama.block_count": np.int32(-1)}, r"llama\.block_count: -1"),
    ({"llama.block_count": 1 << 20}, r"llama\.block_count: 1048576"),
    ({"llama.block_count": 2.0}, r"llama\.block_count: 2\.0 is not a whole"),
    ({"llama.block_count": True}, r"llama\.block_count: True"),
    ({"llama.context_length": np.uint64(1 << 60)}, r"llama\.context_length"),
    ({"llama.embedding_length": "64"}, r"llama\.embedding_length: '64'"),
    ({"llama.embedding_length": 128}, r"llama\.embedding_length: 128, but token_embd"),
    ({"llama.attention.head_count": 7}, r"head_count: 7 does not divide embedding_length"),
    ({"llama.attention.head_count": 65}, r"head_count"),
    ({"llama.attention.head_count_kv": 3}, r"head_count_kv: 3 does not divide"),
    ({"llama.attention.head_count_kv": 0}, r"head_count_kv: 0"),
    ({"llama.attention.head_count_kv": []}, r"head_count_kv: an empty array"),
    ({"llama.attention.head_count_kv": [0.5, 0.5]}, r"head_count_kv: 0\.5"),
    ({"llama.attention.head_count_kv": ["a"]}, r"head_count_kv"),
    ({"llama.attention.layer_norm_rms_epsilon": 0.0}, "epsilon"),
    ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, "epsilon"),
    ({"llama.attention.layer_norm_rms_epsilon": 2.0}, "epsilon"),
    ({"llama.attention.layer_norm_rms_epsilon": "small"}, "epsilon"),
    ({"llama.rope.freq_base": float("inf")}, "freq_base"),
    ({"llama.rope.freq_base": -1.0}, "freq_base"),
    ({"llama.rope.dimension_count": 7}, "dimension_count: 7"),
    ({"llama.rope.dimension_count": 10}, "dimension_count: 10"),
    ({"llama.rope.scaling.type": 1}, "scaling"),
    ({"llama.rope.scaling.factor": 0.0}, "factor"),
    ({"llama.rope.scaling.type": "yarn", "llama.rope.freq_base": 1.0}, "freq_base"),
    ({"llama.rope.scaling.dynamic_factor": 2.0, "llama.rope.dimension_count": 2}, "dimension_count"),
    ({"llama.attention.scale": [1.0, 2.0]}, "attention.scale"),
    ({"llama.use_parallel_residual": 1}, "use_parallel_residual"),
    ({"llama.attention.sliding_window_pattern": [True]}, "1 values for 2 layers"),
    ({"llama.attention.sliding_window_pattern": ["a", "b"]}, "sliding_window_pattern"),
    ({"tokenizer.ggml.tokens": ["a", "b"]}, r"tokenizer\.ggml\.tokens: 2 tokens"),
    ({"tokenizer.ggml.tokens": [1, 2]}, r"tokenizer\.ggml\.tokens"),
    ({"tokenizer.ggml.tokens": "ab"}, r"tokenizer\.ggml\.tokens"),
]


@pytest.mark.parametrize(("changes", "reason"), BAD)
def test_nonsense_is_refused_with_its_key(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidGGUF, match=reason):
        config_of(tmp_path, changes)


def test_odd_heads_divide_when_the_head_length_is_given(tmp_path: Path) -> None:
    config = config_of(tmp_path, {"llama.attention.head_count": 7, "llama.attention.key_length": 10})
    assert (config.head_count, config.key_length) == (7, 10)


def test_the_vocabulary_counts_where_there_is_no_embedding(tmp_path: Path) -> None:
    writer = GGUFWriter("llama")
    for key, value in BASE.items():
        writer.add(key, value)
    writer.add("tokenizer.ggml.tokens", ["a", "b"])
    writer.add("llama.rope.dimension_count", 4, ValueType.UINT64)
    writer.write(tmp_path / "model.gguf")
    with open_gguf(tmp_path / "model.gguf") as file:
        config = ModelConfig.from_model(file)
    assert (config.vocab_size, config.parameter_count, config.file_type) == (2, 0, "unknown")
