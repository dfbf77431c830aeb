"""Hugging Face folders as GGUF: names, order of rows, types, metadata, and folders that are refused."""

from __future__ import annotations

import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, ModelNotFound, PunaError, UnsupportedModel
from puna.gguf import GGMLType, GGUFWriter, ModelConfig, ModelFile, RopeConfig, dequantize, open_model
from tests.models import tiny

from . import folders
from .folders import HEAD, HEADS, HIDDEN, KV_HEADS, LAYERS, VOCAB, write_folder, write_json


def numbers(file: ModelFile, name: str) -> NDArray[np.float32]:
    tensor = file.tensors[name]
    return dequantize(tensor.data, tensor.type, tensor.shape)


NAMES = {
    "input_layernorm.weight": "attn_norm.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"])
def test_tensors_have_ggufs_names_and_their_own_numbers(tmp_path: Path, architecture: str) -> None:
    source = write_folder(tmp_path, {"architectures": [architecture]})
    with open_model(tmp_path) as file:
        assert file.folder == tmp_path
        assert file.size == (tmp_path / "model.safetensors").stat().st_size
        assert np.array_equal(numbers(file, "token_embd.weight"), source["model.embed_tokens.weight"])
        assert np.array_equal(numbers(file, "output_norm.weight"), source["model.norm.weight"])
        assert np.array_equal(numbers(file, "output.weight"), source["lm_head.weight"])
        for layer in range(LAYERS):
            for theirs, ours in NAMES.items():
                expected = source[f"model.layers.{layer}.{theirs}"]
                assert np.array_equal(numbers(file, f"blk.{layer}.{ours}"), expected), ours
        assert len(file.tensors) == len(source)


def test_qwen2s_attention_rows_and_biases_stay_as_they_are(tmp_path: Path) -> None:
    source = write_folder(tmp_path, {"architectures": ["Qwen2ForCausalLM"]})
    with open_model(tmp_path) as file:
        for part in "qkv":
            for kind in ("weight", "bias"):
                expected = source[f"model.layers.1.self_attn.{part}_proj.{kind}"]
                assert np.array_equal(numbers(file, f"blk.1.attn_{part}.{kind}"), expected)


def rotate_halves(x: NDArray[np.float64], position: int) -> NDArray[np.float64]:
    """transformers: element i turns with element i + d/2. x: (heads, d)"""
    angle = position * 10000.0 ** (-np.arange(0, HEAD, 2) / HEAD)
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)


def rotate_pairs(x: NDArray[np.float64], position: int) -> NDArray[np.float64]:
    """llama.cpp's llama: element 2i turns with element 2i + 1."""
    angle = position * 10000.0 ** (-np.arange(0, HEAD, 2) / HEAD)
    turned = (x[..., 0::2] + 1j * x[..., 1::2]) * np.exp(1j * angle)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "MistralForCausalLM"])
def test_attention_scores_of_the_reordered_rows_are_transformers_own(tmp_path: Path, architecture: str) -> None:
    source = write_folder(tmp_path, {"architectures": [architecture]})
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, HIDDEN))

    def scores(q: Any, k: Any, rotate: Any) -> NDArray[np.float64]:
        queries = rotate((q.astype(np.float64) @ x).reshape(HEADS, HEAD), 9)
        keys = rotate((k.astype(np.float64) @ y).reshape(KV_HEADS, HEAD), 5)
        dots: NDArray[np.float64] = (queries * np.repeat(keys, HEADS // KV_HEADS, axis=0)).sum(axis=1)
        return dots

    with open_model(tmp_path) as file:
        for layer in range(LAYERS):
            prefix = f"model.layers.{layer}.self_attn"
            theirs = scores(source[f"{prefix}.q_proj.weight"], source[f"{prefix}.k_proj.weight"], rotate_halves)
            q, k = numbers(file, f"blk.{layer}.attn_q.weight"), numbers(file, f"blk.{layer}.attn_k.weight")
            assert np.allclose(scores(q, k, rotate_pairs), theirs, atol=1e-12)
            assert not np.array_equal(q, source[f"{prefix}.q_proj.weight"])


def test_a_llamas_attention_biases_are_reordered_with_its_rows(tmp_path: Path) -> None:
    write_folder(tmp_path, {"attention_bias": True})
    source = folders.weights(biases=True)
    (tmp_path / "model.safetensors").write_bytes(folders.safetensors(source))
    with open_model(tmp_path) as file:
        bias = source["model.layers.0.self_attn.k_proj.bias"]
        assert numbers(file, "blk.0.attn_k.bias").tolist() == bias[[0, 2, 1, 3, 4, 6, 5, 7]].tolist()


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_matrices_keep_their_type_and_vectors_become_f32(tmp_path: Path, dtype: str) -> None:
    source = write_folder(tmp_path, dtype=dtype)
    with open_model(tmp_path) as file:
        assert file.tensors["blk.0.attn_q.weight"].type is GGMLType[dtype]
        assert file.tensors["blk.0.attn_v.weight"].data.tobytes() == folders.stored(
            source["model.layers.0.self_attn.v_proj.weight"], dtype
        )
        norm = file.tensors["blk.0.attn_norm.weight"]
        assert (norm.type, norm.nbytes, norm.data.size) == (GGMLType.F32, 4 * HIDDEN, 4 * HIDDEN)
        expected = source["model.layers.0.input_layernorm.weight"]
        assert np.allclose(numbers(file, "blk.0.attn_norm.weight"), expected, rtol=2**-7)
        assert ModelConfig.from_model(file).file_type == dtype


def test_some_rows_are_those_of_the_whole_tensor(tmp_path: Path) -> None:
    """Queries and keys lie in another order in the folder: any rows of them come from whole heads."""
    write_folder(tmp_path)
    with open_model(tmp_path) as file:
        for tensor in file.tensors.values():
            whole = tensor.data.reshape(tensor.rows, -1)
            for first in range(tensor.rows):
                for last in range(first + 1, min(first + 12, tensor.rows) + 1):
                    assert np.array_equal(tensor.read(first, last), whole[first:last].reshape(-1)), tensor.name


def test_data_are_read_only(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with open_model(tmp_path) as file:
        assert not any(tensor.data.flags.writeable for tensor in file.tensors.values())


def test_what_is_read_can_be_written_as_gguf(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with open_model(tmp_path) as folder:
        writer = GGUFWriter()
        for key, value in folder.metadata.items():
            writer.add(key, value)
        for tensor in folder.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, partial(tensor.read, 0, tensor.rows))
        writer.write(tmp_path / "model.gguf")
        with open_model(tmp_path / "model.gguf") as file:
            assert ModelConfig.from_model(file) == ModelConfig.from_model(folder)
            for name in folder.tensors:
                assert np.array_equal(numbers(file, name), numbers(folder, name))


def test_tied_embeddings_leave_the_output_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {"tie_word_embeddings": True})
    with open_model(tmp_path) as file:
        assert "output.weight" not in file.tensors
    (tmp_path / "model.safetensors").write_bytes(folders.safetensors(folders.weights()))
    with open_model(tmp_path) as file:  # some checkpoints store it all the same
        assert "output.weight" not in file.tensors


def test_the_configuration_is_complete(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with open_model(tmp_path) as file:
        assert ModelConfig.from_model(file) == ModelConfig(
            architecture="llama",
            name=tmp_path.name,
            context_length=128,
            embedding_length=HIDDEN,
            block_count=LAYERS,
            feed_forward_length=24,
            head_count=HEADS,
            head_count_kv=KV_HEADS,
            key_length=HEAD,
            value_length=HEAD,
            norm_epsilon=float(np.float32(1e-5)),
            rope=RopeConfig(HEAD, 10000.0, "none", 1.0, 128),
            vocab_size=VOCAB,
            sliding_window=None,
            causal=True,
            pooling="none",
            labels=0,
            file_type="F32",
            parameter_count=sum(array.size for array in folders.weights().values()),
        )


def config_with(folder: Path, changes: dict[str, Any]) -> ModelConfig:
    write_folder(folder, changes)
    with open_model(folder) as file:
        return ModelConfig.from_model(file)


def test_keys_that_may_be_absent_have_transformers_defaults(tmp_path: Path) -> None:
    config = config_with(tmp_path, {"rms_norm_eps": None, "rope_theta": None, "hidden_act": None})
    assert config.norm_epsilon == float(np.float32(1e-6))
    assert config.rope.freq_base == 10000.0


def test_rope_theta_is_found_where_transformers_5_puts_it(tmp_path: Path) -> None:
    changes = {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    assert config_with(tmp_path, changes).rope.freq_base == 500000.0


@pytest.mark.parametrize("key", ["type", "rope_type"])
def test_linear_and_yarn_scaling_become_metadata(tmp_path: Path, key: str) -> None:
    rope = config_with(tmp_path, {"rope_scaling": {key: "linear", "factor": 4}}).rope
    assert (rope.scaling_type, rope.factor) == ("linear", 4.0)
    scaling = {key: "yarn", "factor": 2.0, "original_max_position_embeddings": 64}
    rope = config_with(tmp_path, {"rope_scaling": scaling}).rope
    assert (rope.scaling_type, rope.factor, rope.original_context_length) == ("yarn", 2.0, 64)


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_llama_3s_scaling_becomes_the_tensor_of_frequency_factors(tmp_path: Path) -> None:
    """Against the rule written out case by case, at the size of Llama 3.1 (head of 128, base 500000)."""
    write_folder(tmp_path, {"rope_scaling": LLAMA3, "rope_theta": 5e5, "head_dim": 128})
    tensors = {}
    for name, array in folders.weights().items():
        rows = {"q_proj": HEADS * 128, "k_proj": KV_HEADS * 128}.get(name.split(".")[-2])
        tensors[name] = array if rows is None else np.zeros((rows, HIDDEN), np.float32)
    (tmp_path / "model.safetensors").write_bytes(folders.safetensors(tensors))
    with open_model(tmp_path) as file:
        factors = numbers(file, "rope_freqs.weight")
        assert ModelConfig.from_model(file).rope.scaling_type == "none"
    expected = []
    for i in range(64):
        wavelength = 2 * np.pi * 500000.0 ** (2 * i / 128)
        if wavelength < 8192 / 4:
            expected.append(1.0)
        elif wavelength > 8192:
            expected.append(8.0)
        else:
            smooth = (8192 / wavelength - 1) / (4 - 1)
            expected.append(1 / ((1 - smooth) / 8 + smooth))
    assert np.allclose(factors, expected, rtol=1e-6)
    assert (factors[0], factors[-1]) == (1.0, 8.0)
    assert ((factors > 1) & (factors < 8)).any()


def test_mistrals_window_is_kept_and_qwen2s_unused_one_is_not(tmp_path: Path) -> None:
    mistral = {"architectures": ["MistralForCausalLM"], "sliding_window": 64}
    assert config_with(tmp_path, mistral).sliding_window == 64
    qwen2 = {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 64, "use_sliding_window": False}
    assert config_with(tmp_path, qwen2).sliding_window is None


GPT2: dict[str, Any] = {"architectures": ["GPT2LMHeadModel"], "hidden_act": None}
GPT2 |= {"n_embd": 16, "n_head": 4, "n_layer": 2, "n_positions": 16}

UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    (
        {"architectures": ["BloomForCausalLM"]},
        r"BloomForCausalLM.*LlamaForCausalLM, MistralForCausalLM, Qwen2",
    ),
    ({"architectures": None}, "architecture None"),
    ({"architectures": ["LlamaForCausalLM", "Other"]}, "architecture"),
    ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
    ({"mlp_bias": True}, "mlp_bias"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
    ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
    ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "kinds of layers"),
    ({"quantization_config": {"quant_method": "gptq"}}, "quantised by 'gptq'"),
    ({"rope_scaling": {"type": "spiral", "factor": 2.0}}, "spiral"),
    ({"rope_scaling": {"type": "yarn", "factor": 2.0, "beta_fast": 16}}, "beta_fast"),
    ({"architectures": ["Qwen2ForCausalLM"], "use_sliding_window": True}, "use_sliding_window"),
    ({"architectures": ["Qwen2ForCausalLM"], "layer_types": ["sliding_attention"]}, "window"),
    ({"architectures": ["FalconForCausalLM"], "alibi": True}, "alibi"),
    ({"architectures": ["FalconForCausalLM"], "parallel_attn": False}, "parallel_attn"),
    ({"architectures": ["StableLmForCausalLM"], "qk_layernorm": True}, "qk_layernorm"),
    ({"architectures": ["CohereForCausalLM"], "use_qk_norm": True}, "use_qk_norm"),
    ({"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [0, 0]}, "no_rope_layers"),
    (
        {"architectures": ["Gemma3ForCausalLM"], "hidden_activation": "silu"},
        "hidden_activation 'silu'; gemma3 has gelu",
    ),
    (
        GPT2 | {"scale_attn_by_inverse_layer_idx": True},
        "scale_attn_by_inverse_layer_idx",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), UNSUPPORTED)
def test_what_the_engine_would_compute_wrongly_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    write_folder(tmp_path)
    write_json(tmp_path / "config.json", {k: v for k, v in (folders.CONFIG | changes).items() if v is not None})
    with pytest.raises(UnsupportedModel, match=reason):
        open_model(tmp_path)


NONSENSE: list[tuple[dict[str, Any], str]] = [
    ({"hidden_size": None}, "hidden_size: missing"),
    ({"hidden_size": "16"}, "hidden_size: '16'"),
    ({"hidden_size": 1 << 60}, "hidden_size"),
    ({"num_hidden_layers": 0}, "num_hidden_layers: 0"),
    ({"num_attention_heads": 3}, "num_attention_heads: 3 does not divide"),
    ({"num_attention_heads": True}, "num_attention_heads: True"),
    ({"num_attention_heads": 16, "head_dim": 4}, "not fit 16 heads of 4"),
    ({"rms_norm_eps": -1}, "rms_norm_eps"),
    ({"rope_theta": "big"}, "rope_theta"),
    ({"rope_theta": float("inf")}, "rope_theta"),
    ({"rope_scaling": [1]}, "rope_scaling"),
    ({"rope_scaling": {"type": "linear"}}, "factor: missing"),
    ({"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}}, "low_freq_factor"),
    ({"tie_word_embeddings": "no"}, "tie_word_embeddings"),
    ({"hidden_act": 5}, "hidden_act"),
    ({"head_dim": 1 << 20}, "head_dim"),
    ({"architectures": ["GPT2LMHeadModel"]}, "n_embd: missing"),
    ({"architectures": ["MiniCPMForCausalLM"]}, "scale_emb: missing"),
    ({"rope_scaling": {"type": "su", "long_factor": [1]}}, "long_factor"),
    (
        {"architectures": ["Phi3ForCausalLM"], "original_max_position_embeddings": 1, "rope_scaling": {"type": "su"}},
        "original_max_position_embeddings",
    ),
]


@pytest.mark.parametrize(("changes", "reason"), NONSENSE)
def test_nonsense_in_the_configuration_is_refused_with_its_key(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    write_folder(tmp_path)
    write_json(tmp_path / "config.json", {k: v for k, v in (folders.CONFIG | changes).items() if v is not None})
    with pytest.raises(InvalidGGUF, match=reason):
        open_model(tmp_path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "factor", "a"]), inner),
    max_leaves=4,
)
CONFIG_KEYS = [*folders.CONFIG, "head_dim", "rope_scaling", "rope_parameters", "eos_token_id", "mlp_bias"]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(tiny.CONFIGS)))
def test_any_configuration_of_any_architecture_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, name: str
) -> None:
    folder = tmp_path_factory.getbasetemp() / name
    if not folder.exists():
        tiny.write_folder(folder, name)
    keys = [*tiny.CONFIGS[name], "rope_parameters", "layer_types", "no_rope_layers", "n_inner", "sliding_window"]
    changes = data.draw(st.dictionaries(st.sampled_from(keys), json_values | st.integers(1, 1 << 31), max_size=3))
    write_json(folder / "config.json", tiny.CONFIGS[name] | changes)
    with suppress(PunaError), open_model(folder) as file:
        ModelConfig.from_model(file)
        for tensor in file.tensors.values():
            assert tensor.data.nbytes == tensor.nbytes


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(CONFIG_KEYS), json_values, max_size=3))
def test_any_configuration_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    if not folder.exists():
        folder.mkdir()
        write_folder(folder)
    write_json(folder / "config.json", folders.CONFIG | changes)
    try:
        with open_model(folder) as file:
            ModelConfig.from_model(file)
            for tensor in file.tensors.values():
                assert tensor.data.size == tensor.nbytes
    except (InvalidGGUF, UnsupportedModel):
        pass


class TestShards:
    def write(self, folder: Path) -> dict[str, str]:
        tensors = write_folder(folder)
        (folder / "model.safetensors").unlink()
        names = sorted(tensors)
        halves = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
        for shard, part in halves.items():
            (folder / shard).write_bytes(folders.safetensors({name: tensors[name] for name in part}))
        weight_map = {name: shard for shard, part in halves.items() for name in part}
        write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
        return weight_map

    def test_all_shards_are_opened(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        with open_model(tmp_path) as file:
            assert len(file.tensors) == len(folders.weights())
            assert file.size == sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))

    def test_a_missing_shard_is_named(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        (tmp_path / "b.safetensors").unlink()
        with pytest.raises(InvalidGGUF, match=r"shard 2 of 2 is missing: b\.safetensors"):
            open_model(tmp_path)

    @pytest.mark.parametrize("name", ["../other/a.safetensors", "/etc/passwd", "sub/a.safetensors", "a.bin", "", "a\0"])
    def test_a_shard_outside_the_folder_is_not_opened(self, tmp_path: Path, name: str) -> None:
        weight_map = self.write(tmp_path)
        (tmp_path / "sub").mkdir()
        shutil.copy(tmp_path / "a.safetensors", tmp_path / "sub")
        write_json(tmp_path / "model.safetensors.index.json", {"weight_map": weight_map | {"x": name}})
        with pytest.raises(InvalidGGUF, match="not the name of a safetensors file"):
            open_model(tmp_path)

    def test_a_tensor_that_is_not_where_the_index_says_is_refused(self, tmp_path: Path) -> None:
        weight_map = self.write(tmp_path) | {"model.norm.weight": "a.safetensors"}
        write_json(tmp_path / "model.safetensors.index.json", {"weight_map": weight_map})
        with pytest.raises(InvalidGGUF, match=r"model\.norm\.weight' should be in a\.safetensors"):
            open_model(tmp_path)

    @pytest.mark.parametrize("index", [{}, {"weight_map": []}, {"weight_map": {"a": 1}}])
    def test_an_index_without_files_is_refused(self, tmp_path: Path, index: Any) -> None:
        self.write(tmp_path)
        write_json(tmp_path / "model.safetensors.index.json", index)
        with pytest.raises(InvalidGGUF, match="weight_map"):
            open_model(tmp_path)


class TestWeightsThatAreRefused:
    def refused(self, folder: Path, error: type[PunaError], reason: str) -> None:
        with pytest.raises(error, match=reason):
            open_model(folder)

    def test_no_configuration(self, tmp_path: Path) -> None:
        self.refused(tmp_path, ModelNotFound, r"config\.json is missing")

    @pytest.mark.parametrize(
        "text", ["", "[]", "{", "[" * 100_000, '{"a": 1, "a": 2}', '{"a": ' + "9" * 5000 + "}", "\ud800"]
    )
    def test_a_configuration_that_is_no_json_object(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
        self.refused(tmp_path, InvalidGGUF, r"config\.json")

    def test_no_weights(self, tmp_path: Path) -> None:
        write_folder(tmp_path)
        (tmp_path / "model.safetensors").unlink()
        self.refused(tmp_path, InvalidGGUF, "no weights")

    @pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
    def test_pickled_weights(self, tmp_path: Path, name: str) -> None:
        write_folder(tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / name)
        self.refused(tmp_path, UnsupportedModel, f"pickled.*{name}")

    def test_an_adapter_alone(self, tmp_path: Path) -> None:
        write_folder(tmp_path)
        (tmp_path / "model.safetensors").rename(tmp_path / "adapter_model.safetensors")
        self.refused(tmp_path, UnsupportedModel, "adapter")

    def test_an_unknown_tensor(self, tmp_path: Path) -> None:
        tensors = write_folder(tmp_path) | {"model.layers.0.self_attn.q_norm.weight": np.ones(4, np.float32)}
        (tmp_path / "model.safetensors").write_bytes(folders.safetensors(tensors))
        self.refused(tmp_path, UnsupportedModel, "q_norm.*has no place in llama")

    def test_incomplete_weights(self, tmp_path: Path) -> None:
        tensors = write_folder(tmp_path)
        del tensors["lm_head.weight"]
        (tmp_path / "model.safetensors").write_bytes(folders.safetensors(tensors))
        self.refused(tmp_path, InvalidGGUF, r"incomplete.*output\.weight")

    def test_the_same_layer_under_two_spellings(self, tmp_path: Path) -> None:
        tensors = write_folder(tmp_path)
        tensors["model.layers.00.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"]
        (tmp_path / "model.safetensors").write_bytes(folders.safetensors(tensors))
        self.refused(tmp_path, InvalidGGUF, "twice")

    def test_weights_of_eight_bits(self, tmp_path: Path) -> None:
        write_folder(tmp_path)
        entry = {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}
        content = folders.packed({"lm_head.weight": entry}, bytes(4))
        (tmp_path / "model.safetensors").write_bytes(content)
        self.refused(tmp_path, UnsupportedModel, r"lm_head\.weight is stored as F8_E4M3")


def test_computed_tensors_of_old_checkpoints_are_passed_over(tmp_path: Path) -> None:
    tensors = write_folder(tmp_path) | {"model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(2, np.float32)}
    (tmp_path / "model.safetensors").write_bytes(folders.safetensors(tensors))
    with open_model(tmp_path) as file:
        assert len(file.tensors) == len(tensors) - 1


class TestTokens:
    def metadata(self, folder: Path, changes: dict[str, Any] | None = None, **contents: Any) -> dict[str, Any]:
        write_folder(folder, changes)
        for name, value in contents.items():
            write_json(folder / f"{name}.json", value)
        with open_model(folder) as file:
            return {key: value for key, value in file.metadata.items() if key.startswith(("tokenizer.", "puna."))}

    def test_nothing_is_invented(self, tmp_path: Path) -> None:
        assert self.metadata(tmp_path) == {}

    def test_ids_come_from_the_configuration(self, tmp_path: Path) -> None:
        found = self.metadata(tmp_path, {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0})
        assert found.pop("puna.eos_token_ids").tolist() == [2]
        assert found == {
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.padding_token_id": 0,
        }

    def test_the_tokenizers_own_end_comes_before_the_generations_others(self, tmp_path: Path) -> None:
        found = self.metadata(
            tmp_path,
            {"eos_token_id": 5},
            generation_config={"eos_token_id": [5, 7, 9]},
            tokenizer_config={
                "bos_token": {"content": "<s>"},
                "eos_token": "<|eot_id|>",
                "add_bos_token": True,
                "add_eos_token": None,
                "added_tokens_decoder": {"9": {"content": "<|eot_id|>"}, "3": {"content": "<s>"}},
            },
        )
        assert found.pop("puna.eos_token_ids").tolist() == [9, 5, 7]
        assert found == {
            "tokenizer.ggml.bos_token_id": 3,
            "tokenizer.ggml.eos_token_id": 9,
            "tokenizer.ggml.eot_token_id": 5,
            "tokenizer.ggml.add_bos_token": True,
        }

    def test_ids_are_found_in_the_tokenizer_where_its_configuration_has_none(self, tmp_path: Path) -> None:
        found = self.metadata(
            tmp_path,
            tokenizer={"added_tokens": [{"id": 4, "content": "<e>"}, {"id": "x", "content": "y"}, 3]},
            special_tokens_map={"eos_token": "<e>"},
        )
        assert found["tokenizer.ggml.eos_token_id"] == 4

    def test_the_jinja_file_comes_before_the_others(self, tmp_path: Path) -> None:
        (tmp_path / "chat_template.jinja").write_text("one 世界", encoding="utf-8")
        found = self.metadata(
            tmp_path, chat_template={"chat_template": "two"}, tokenizer_config={"chat_template": "three"}
        )
        assert found == {"tokenizer.chat_template": "one 世界"}
        (tmp_path / "chat_template.jinja").unlink()
        assert self.metadata(tmp_path) == {"tokenizer.chat_template": "two"}
        (tmp_path / "chat_template.json").unlink()
        assert self.metadata(tmp_path) == {"tokenizer.chat_template": "three"}

    def test_named_templates_keep_their_names(self, tmp_path: Path) -> None:
        templates = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
        found = self.metadata(tmp_path, tokenizer_config={"chat_template": templates})
        assert found == {"tokenizer.chat_template": "a", "tokenizer.chat_template.tool_use": "b"}

    @pytest.mark.parametrize("template", [5, [5], [{"name": "default"}], {"default": 5}])
    def test_a_template_that_is_no_text_is_refused(self, tmp_path: Path, template: Any) -> None:
        with pytest.raises(InvalidGGUF, match="chat_template"):
            self.metadata(tmp_path, tokenizer_config={"chat_template": template})
