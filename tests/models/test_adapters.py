"""LoRA adapters: a model with one is the model whose matrices are W + s B A; each row has its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, GGUFWriter, open_model
from puna.models import Adapter, Chunk, configuration, open_adapter
from puna.models.adapters import read_adapter
from tests.gguf.huggingface.folders import safetensors, write_json
from tests.models import mixtures, tiny
from tests.models.running import Logits, loaded, write_gguf
from tests.models.test_oracle import cosine, error

Pairs = dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]

PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def pairs(folder: Path, rank: int, seed: int, parts: tuple[str, ...] = PARTS) -> Pairs:
    """Random factors for every matrix of these names, and for the output."""
    random = np.random.default_rng(seed)
    made: Pairs = {}
    with open_model(folder) as file:
        for name, tensor in file.tensors.items():
            if len(tensor.shape) == 2 and (name.split(".")[-2] in parts or name == "output.weight"):
                rows, columns = tensor.shape
                a, b = random.standard_normal((rank, columns)), random.standard_normal((rows, rank))
                made[name] = (a / np.sqrt(columns)).astype(np.float32), (b * 0.3).astype(np.float32)
    return made


def write_adapter(
    path: Path, made: Pairs, alpha: float, kind: GGMLType = GGMLType.F32, changes: dict[str, Any] | None = None
) -> Path:
    """As llama.cpp's convert_lora_to_gguf.py does."""
    writer = GGUFWriter()
    known = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora"}
    for key, value in (known | {"adapter.lora.alpha": alpha} | (changes or {})).items():
        writer.add(key, value)
    for name, (a, b) in made.items():
        for part, array in (("lora_a", a), ("lora_b", b)):
            stored = array.astype(np.float16) if kind is GGMLType.F16 else array
            writer.add_tensor(f"{name}.{part}", array.shape, kind, stored.reshape(-1).view(np.uint8))
    writer.write(path)
    return path


def read(path: Path) -> Adapter:
    with open_model(path) as file:
        return read_adapter(file, "llama")


def merged(folder: Path, target: Path, made: Pairs, scale: float) -> Path:
    """The model with W + scale B A for W."""

    def add(arrays: dict[str, NDArray[np.float32]]) -> None:
        for name, (a, b) in made.items():
            arrays[name] = arrays[name] + np.float32(scale) * (b @ a)

    with open_model(folder) as file:
        return write_gguf(target, file, GGMLType.F32, change=add)


def run(path: Path, adapters: tuple[Adapter, ...] = (), adapter: int = 0) -> Logits:
    tokens = tiny.prompt("llama")[:40]
    with loaded(path, tokens=64, kv_type="f32", adapters=adapters) as model:
        return model.forward([Chunk(tokens, 0, range(2), 16, adapter=adapter)]).copy()


@pytest.mark.parametrize(("rank", "alpha"), [(4, 8.0), (20, 10.0), (8, 0.0)])
def test_an_adapter_is_the_model_with_its_product_merged(rank: int, alpha: float, tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "folder", "llama")
    made = pairs(folder, rank, seed=1)
    expected = run(merged(folder, tmp_path / "merged.gguf", made, alpha / rank if alpha else 1.0))
    adapter = read(write_adapter(tmp_path / "adapter.gguf", made, alpha))
    ours = run(folder, (adapter,), adapter=1)
    assert error(ours, expected) < 1e-5
    assert error(run(folder, (adapter,)), expected) > 0.01, "the adapter changes nothing"


@pytest.mark.parametrize("stabilised", [False, True])
def test_a_peft_folder_is_the_same_adapter(stabilised: bool, tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "folder", "llama")
    random = np.random.default_rng(5)
    added: dict[str, NDArray[np.float32]] = {}
    stored: tiny.Weights = {}
    for module in ("self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"):
        name = f"model.layers.1.{module}"
        rows, columns = tiny.weights("llama")[f"{name}.weight"].shape
        a, b = (random.standard_normal(shape, np.float32) * 0.2 for shape in ((4, columns), (rows, 4)))
        stored |= {f"base_model.model.{name}.lora_{part}.weight": x for part, x in (("A", a), ("B", b))}
        added[f"{name}.weight"] = b @ a * np.float32(4.0 if stabilised else 2.0)  # 8 / sqrt(4), 8 / 4
    weights = {name: array + added.get(name, np.float32(0)) for name, array in tiny.weights("llama").items()}
    expected = run(tiny.write_folder(tmp_path / "merged", "llama", tensors=weights))
    peft = write_peft(tmp_path / "peft", stored, use_rslora=stabilised)
    with open_model(folder) as file:
        adapter = open_adapter(peft, configuration(file))
    assert error(run(folder, (adapter,), adapter=1), expected) < 1e-5


def write_peft(folder: Path, tensors: tiny.Weights, **changes: Any) -> Path:
    """As PEFT's save_pretrained does."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": ["q_proj"]}
    write_json(folder / "adapter_config.json", config | changes)
    (folder / "adapter_model.safetensors").write_bytes(safetensors(tensors))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "use_dora is True"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern is"),
    ],
)
def test_what_peft_has_beside_plain_lora_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    peft = write_peft(tmp_path / "peft", {}, **changes)
    with (
        open_model(tiny.write_folder(tmp_path / "folder", "llama")) as file,
        pytest.raises(UnsupportedModel, match=message),
    ):
        open_adapter(peft, configuration(file))


def test_rows_of_one_step_have_each_its_own_adapter_and_the_same_bits_alone(tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "folder", "llama")
    parts = (PARTS, PARTS[:2])
    adapters = tuple(
        read(write_adapter(tmp_path / f"{i}.gguf", pairs(folder, 4 + i, i, parts[i]), 8.0)) for i in range(2)
    )
    tokens = tiny.prompt("llama")[:24]
    alone = [run_alone(folder, adapters, tokens, adapter) for adapter in range(3)]
    with loaded(folder, tokens=160, threads=2, adapters=adapters) as model:
        chunks = [Chunk(tokens, 0, [i], 4, adapter=i) for i in (2, 0, 1)]
        together = model.forward(chunks).copy()
    for place, adapter in enumerate((2, 0, 1)):
        own = together[4 * place : 4 * place + 4]
        assert np.array_equal(own.view(np.uint32), alone[adapter].view(np.uint32))
    with loaded(folder, tokens=64) as plain:
        base = plain.forward([Chunk(tokens, 0, range(1), 4)])
        assert np.array_equal(base, alone[0]), "without an adapter it is another model"


def run_alone(folder: Path, adapters: tuple[Adapter, ...], tokens: list[int], adapter: int) -> Logits:
    with loaded(folder, tokens=64, adapters=adapters) as model:
        return model.forward([Chunk(tokens, 0, range(1), 4, adapter=adapter)]).copy()


def test_over_quantised_weights_the_adapter_stays_as_exact_as_it_is(tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "folder", "llama")
    made = pairs(folder, 4, seed=3)
    with open_model(folder) as file:
        base = write_gguf(tmp_path / "base.gguf", file, GGMLType.Q8_0)
    expected = run(merged(base, tmp_path / "merged.gguf", made, 2.0))  # with activations in float32
    ours = run(base, (read(write_adapter(tmp_path / "adapter.gguf", made, 8.0, GGMLType.F16)),), adapter=1)
    assert cosine(ours, expected) > 0.999


def test_what_is_no_adapter_of_this_model_is_refused_in_words(tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "folder", "llama")
    made = pairs(folder, 4, seed=1)
    path = tmp_path / "adapter.gguf"
    for changes, message in (
        ({"general.architecture": "qwen2"}, "an adapter of 'qwen2', and the model is llama"),
        ({"adapter.type": "ia3"}, "no LoRA adapter"),
        ({"general.type": "model"}, "no LoRA adapter"),
    ):
        with pytest.raises(UnsupportedModel, match=message):
            read(write_adapter(path, made, 8.0, changes=changes))
    with pytest.raises(UnsupportedModel, match=r"blk\.9\.attn_q\.weight has no place"):
        run(folder, (read(write_adapter(path, {"blk.9.attn_q.weight": made["blk.0.attn_q.weight"]}, 8.0)),))
    with pytest.raises(InvalidGGUF, match=r"is \(128, 128\) in the model, \(64, 128\) in the adapter"):
        run(folder, (read(write_adapter(path, {"blk.0.attn_q.weight": made["blk.0.attn_k.weight"]}, 8.0)),))
    a, b = made["blk.0.attn_q.weight"]
    with pytest.raises(InvalidGGUF, match="do not make a matrix"):
        read(write_adapter(path, {"blk.0.attn_q.weight": (a[:3], b)}, 8.0))
    with pytest.raises(InvalidGGUF, match="not all numbers are finite"):
        read(write_adapter(path, {"blk.0.attn_q.weight": (a * np.float32(np.inf), b)}, 8.0))


def test_adapters_of_experts_are_refused_in_words(tmp_path: Path) -> None:
    folder = mixtures.write_folder(tmp_path / "folder", "mixtral")
    pair = np.zeros((4, 64), np.float32), np.zeros((96, 4), np.float32)
    adapter = read(write_adapter(tmp_path / "adapter.gguf", {"blk.0.ffn_up_exps.weight": pair}, 8.0))
    with pytest.raises(UnsupportedModel, match="adapters of experts"):
        run(folder, (adapter,))


def test_an_adapter_that_was_not_loaded_cannot_be_chosen(tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "folder", "llama")
    with loaded(folder) as model, pytest.raises(ValueError, match="adapter 1: the model was loaded with 0"):
        model.forward([Chunk([1], 0, range(1), 1, adapter=1)])
