"""Hugging Face folders into GGUF files: the same numbers, the same logits; whole or not at all."""

from __future__ import annotations

import json
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gguf
from puna.conversion import import_folder, importing, open_import
from puna.errors import Cancelled, InvalidTokenizer, StoreError, UnsupportedModel
from puna.gguf import GGMLType, ModelConfig, dequantize, open_model
from tests.conversion import folders
from tests.gguf.huggingface.folders import safetensors, write_json
from tests.models import tiny


@pytest.mark.parametrize("stored", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("wanted", [None, GGMLType.F32, GGMLType.F16, GGMLType.BF16])
def test_matrices_get_the_type_that_is_asked_for_and_vectors_stay_f32(
    stored: str, wanted: GGMLType | None, tmp_path: Path
) -> None:
    folder, target = folders.tiny_model(tmp_path / "folder", "llama_bias", dtype=stored), tmp_path / "model.gguf"
    import_folder(folder, target, wanted)
    kind = GGMLType[stored] if wanted is None else wanted
    with open_model(folder) as source, open_model(target) as file:
        assert ModelConfig.from_model(file).file_type == kind.name
        for name, tensor in file.tensors.items():
            own = source.tensors[name]
            numbers = dequantize(own.data, own.type, own.shape)
            theirs = GGMLType.F32 if numbers.ndim == 1 else kind
            expected = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType[theirs.name])
            assert (tensor.type, tensor.shape) == (theirs, own.shape)
            assert tensor.data.tobytes() == expected.tobytes(), name


def test_names_and_types_of_keys_are_those_of_the_gguf_package(tmp_path: Path) -> None:
    folder = folders.tiny_model(tmp_path / "folder", "llama_linear_rope")
    import_folder(folder, tmp_path / "model.gguf")
    fields = gguf.GGUFReader(tmp_path / "model.gguf").fields
    arch = "llama"
    for key in (
        gguf.Keys.LLM.BLOCK_COUNT, gguf.Keys.LLM.CONTEXT_LENGTH, gguf.Keys.LLM.EMBEDDING_LENGTH,
        gguf.Keys.LLM.FEED_FORWARD_LENGTH, gguf.Keys.Attention.HEAD_COUNT, gguf.Keys.Attention.HEAD_COUNT_KV,
        gguf.Keys.LLM.VOCAB_SIZE, gguf.Keys.Rope.DIMENSION_COUNT,
    ):  # fmt: skip
        assert fields[key.format(arch=arch)].types == [gguf.GGUFValueType.UINT32], key
    for key in (gguf.Keys.Rope.FREQ_BASE, gguf.Keys.Attention.LAYERNORM_RMS_EPS, gguf.Keys.Rope.SCALING_FACTOR):
        assert fields[key.format(arch=arch)].types == [gguf.GGUFValueType.FLOAT32], key
    assert fields[gguf.Keys.General.FILE_TYPE].contents() == gguf.LlamaFileType.ALL_F32
    assert fields[gguf.Keys.General.QUANTIZATION_VERSION].contents() == gguf.GGML_QUANT_VERSION
    assert fields[gguf.Keys.General.TYPE].contents() == gguf.GGUFType.MODEL
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    expected = {names.get_name(name, (".weight",)) for name in tiny.weights("llama_linear_rope")}
    assert expected == set(open_model(tmp_path / "model.gguf").tensors)


def test_shards_become_the_same_file_as_one(tmp_path: Path) -> None:
    whole, target = folders.tiny_model(tmp_path / "model"), tmp_path / "whole.gguf"
    import_folder(whole, target)
    (whole / "model.safetensors").unlink()
    weight_map: dict[str, str] = {}
    tensors = list(tiny.weights("llama").items())
    for number, part in enumerate((tensors[:7], tensors[7:]), 1):
        shard = f"model-0000{number}-of-00002.safetensors"
        (whole / shard).write_bytes(safetensors(dict(part)))
        weight_map |= dict.fromkeys(dict(part), shard)
    write_json(whole / "model.safetensors.index.json", {"weight_map": weight_map})
    import_folder(whole, tmp_path / "sharded.gguf")
    assert (tmp_path / "sharded.gguf").read_bytes() == target.read_bytes()


@pytest.mark.parametrize("floats", [None, GGMLType.F16])
def test_memory_stays_flat_however_large_a_tensor_is(
    floats: GGMLType | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PIECE", 1 << 16)
    rows, columns = 1024, 4096  # 16 MB; heads of 32 rows
    tensors = tiny.weights("llama_tied")
    for layer in range(3):
        tensors[f"model.layers.{layer}.self_attn.q_proj.weight"] = np.ones(
            (rows, columns if layer == 0 else 1), np.float32
        )
        tensors[f"model.layers.{layer}.self_attn.k_proj.weight"] = np.ones((32, 1), np.float32)
    folder = folders.tiny_model(
        tmp_path / "folder", "llama_tied", tensors=tensors, changes={"num_attention_heads": 32, "head_dim": 32}
    )
    seen: list[int] = []

    def watch(_done: int, _of: int) -> None:
        if seen:
            seen.append(tracemalloc.get_traced_memory()[1])
        else:
            tracemalloc.reset_peak()
            seen.append(tracemalloc.get_traced_memory()[0])

    tracemalloc.start()
    try:
        import_folder(folder, tmp_path / "model.gguf", floats, progress=watch)
    finally:
        tracemalloc.stop()
    assert len(seen) > 30
    assert seen[-1] - seen[0] < 10_000_000


def test_progress_goes_to_the_end_in_bytes_of_the_new_file(tmp_path: Path) -> None:
    folder, told = folders.tiny_model(tmp_path / "folder"), []
    import_folder(folder, tmp_path / "model.gguf", GGMLType.F16, progress=lambda done, of: told.append((done, of)))
    with open_model(tmp_path / "model.gguf") as file:
        total = sum(tensor.nbytes for tensor in file.tensors.values())
    assert told[-1] == (total, total)
    assert told == sorted(told)
    assert {of for _, of in told} == {total}


def test_a_cancelled_import_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    folder, target = folders.tiny_model(tmp_path / "folder"), tmp_path / "model.gguf"
    target.write_bytes(b"old")
    cancelled = threading.Event()
    with pytest.raises(Cancelled):
        import_folder(folder, target, progress=lambda *_: cancelled.set(), cancelled=cancelled)
    assert target.read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "model.gguf"}


def test_a_target_that_cannot_be_written_is_said_with_its_path(tmp_path: Path) -> None:
    folder = folders.tiny_model(tmp_path / "folder")
    with pytest.raises(StoreError, match=r"missing/model\.gguf: cannot be written: No such file"):
        import_folder(folder, tmp_path / "missing" / "model.gguf")


def test_numbers_beyond_f16_are_refused_and_not_made_infinite(tmp_path: Path) -> None:
    tensors = tiny.weights("llama")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = 1e6
    folder = folders.tiny_model(tmp_path / "folder", tensors=tensors)
    with pytest.raises(UnsupportedModel, match=r"blk\.1\.ffn_up\.weight holds 1e\+06, too much for F16: choose BF16"):
        import_folder(folder, tmp_path / "model.gguf", GGMLType.F16)
    import_folder(folder, tmp_path / "model.gguf", GGMLType.BF16)


def test_a_quantised_type_is_not_importings_to_make(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="F32, F16 or BF16, not Q4_0"):
        import_folder(folders.tiny_model(tmp_path / "folder"), tmp_path / "model.gguf", GGMLType.Q4_0)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path, "llama")
    with pytest.raises(InvalidTokenizer, match=r"neither tokenizer\.json nor tokenizer\.model"):
        import_folder(tmp_path, tmp_path / "model.gguf")


CARD = """---
license: other
license_name: llama-community
license_link: LICENSE
language: [en, zh]
tags:
- text-generation
base_model: some/Base-7B
---
# A model
"""


def general(folder: Path, card: bytes | str) -> tuple[dict[str, Any], tuple[str, ...]]:
    folders.tiny_model(folder)
    (folder / "README.md").write_bytes(card if isinstance(card, bytes) else card.encode())
    with open_import(folder) as opened:
        keys = {key: value for key, value in opened.file.metadata.items() if key.startswith("general.")}
        return keys, opened.warnings


def test_a_card_that_merges_without_end_is_read_at_once(tmp_path: Path) -> None:
    """Each map twice the one before: 2 ** 60 keys, if merge keys were followed."""
    maps = "".join(f"a{i}: &x{i}\n  <<: [*x{i - 1}, *x{i - 1}]\n  k{i}: 1\n" for i in range(1, 60))
    keys, warnings = general(tmp_path, f"---\nlicense: mit\na0: &x0 {{k: 1}}\n{maps}---\n")
    assert (keys["general.license"], warnings) == ("mit", ())


def test_languages_are_texts_norwegian_too(tmp_path: Path) -> None:
    assert general(tmp_path, "---\nlanguage: [no, en]\n---\n")[0]["general.languages"] == ["no", "en"]


def test_the_model_cards_words_become_general_keys(tmp_path: Path) -> None:
    keys, warnings = general(tmp_path / "Tiny", CARD)
    assert warnings == ()
    assert keys == {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.type": "model",
        "general.size_label": "509K",
        "general.license": "other",
        "general.license.name": "llama-community",
        "general.license.link": "LICENSE",
        "general.languages": ["en", "zh"],
        "general.tags": ["text-generation"],
        "general.base_model.count": 1,
        "general.base_model.0.name": "Base-7B",
        "general.base_model.0.organization": "some",
        "general.base_model.0.repo_url": "https://huggingface.co/some/Base-7B",
        "general.file_type": 0,
        "general.quantization_version": 2,
    }


@pytest.mark.parametrize("card", ["---\na: [1\n---\n", "---\n- a\n---\n", "---\n" + "- " * 2_000 + "\n---\n"])
def test_a_card_that_cannot_be_read_costs_a_warning_and_no_more(tmp_path: Path, card: str) -> None:
    keys, (warning,) = general(tmp_path, card)
    assert keys["general.type"] == "model"
    assert "README.md: the model card cannot be read" in warning
    assert len(warning) < 400


@pytest.mark.parametrize(
    "card",
    ["", "# no YAML", "---\nlicense: mit", b"\xff\xfe\x00", "---\nlicense: [7]\ntags: {a: b}\nlicense_name:\n---\n"],
)
def test_a_card_without_what_we_look_for_is_no_matter(tmp_path: Path, card: str | bytes) -> None:
    keys, warnings = general(tmp_path, card)
    assert warnings == ()
    assert "general.license" not in keys


@pytest.mark.parametrize(
    ("count", "label"), [(135e6, "135M"), (1.1e9, "1.1B"), (7.24e9, "7.2B"), (70e9, "70B"), (999, "1.0K")]
)
def test_sizes_are_labelled_as_in_file_names(count: float, label: str) -> None:
    from puna.conversion.model_card import size_label

    assert size_label(int(count)) == label


def test_chat_templates_come_along(tmp_path: Path) -> None:
    folder = folders.tiny_model(tmp_path / "folder")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ tools }}")
    import_folder(folder, tmp_path / "model.gguf")
    with open_model(tmp_path / "model.gguf") as file:
        assert file.metadata["tokenizer.chat_template"] == "{{ messages }}"
        assert file.metadata["tokenizer.chat_template.tool_use"] == "{{ tools }}"


def test_the_tokens_that_end_an_answer_are_those_of_the_generation_config(tmp_path: Path) -> None:
    folder = folders.tiny_model(tmp_path / "folder")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7, 9]}))
    import_folder(folder, tmp_path / "model.gguf")
    with open_model(tmp_path / "model.gguf") as file:
        keys = file.metadata
        assert [keys["tokenizer.ggml.eos_token_id"], keys["tokenizer.ggml.eot_token_id"]] == [2, 7]
        assert np.asarray(keys["puna.eos_token_ids"]).tolist() == [2, 7, 9]
