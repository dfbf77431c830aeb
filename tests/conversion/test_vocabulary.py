"""Vocabularies into GGUF's keys and back: the ids of the folder, on every text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.conversion import import_folder, open_import
from puna.conversion.pre_tokenizer import find_pre_tokenizer
from puna.errors import InvalidTokenizer
from puna.gguf import open_model
from puna.tokenizer import Tokenizer, load
from puna.tokenizer.building import words_of
from puna.tokenizer.huggingface import EMBEDDED
from puna.tokenizer.pretokenizers import PRE_TOKENIZERS
from puna.tokenizer.sentencepiece import metadata_of
from tests.conversion import folders
from tests.tokenizer.test_sentencepiece import MODELS, trained
from tests.tokenizer.texts import NASTY, fuzz

TEXTS = (*NASTY, *fuzz(51, 150))
REAL: dict[str, Callable[[Path], Path]] = {
    "deepseek": folders.deepseek,
    "mistral": folders.mistral,
    "mistral as merges": folders.mistral_as_merges,
    "anthropic": folders.anthropic,
}

Both = tuple[Tokenizer, Tokenizer, dict[str, Any], tuple[str, ...]]


def both(folder: Path) -> Both:
    """The folder's tokenizer, that of the file it becomes, the file's keys, and the warnings."""
    target = folder.with_suffix(".gguf")
    warnings = import_folder(folder, target)
    with open_model(folder) as source, open_model(target) as file:
        return load(source), load(file), dict(file.metadata), warnings


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    return both(REAL[request.param](tmp_path_factory.mktemp("model") / "folder"))


def test_a_real_vocabulary_keeps_its_ids_on_nasty_text(real: Both) -> None:
    folder, file, _, _ = real
    for text in TEXTS:
        for parse in (False, True):
            assert file.encode(text, parse_special=parse) == folder.encode(text, parse_special=parse), text
        ids = folder.encode(text)
        assert file.decode(ids) == folder.decode(ids)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=20) | st.sampled_from(NASTY), max_size=4).map("".join), st.booleans())
def test_a_real_vocabulary_keeps_its_ids_on_any_text(real: Both, text: str, parse: bool) -> None:
    folder, file, _, _ = real
    assert file.encode(text, parse_special=parse) == folder.encode(text, parse_special=parse)


def test_a_real_vocabulary_keeps_every_token(real: Both) -> None:
    folder, file, _, _ = real
    assert file.vocab_size == folder.vocab_size
    assert all(file.token_bytes(i) == folder.token_bytes(i) for i in range(file.vocab_size))
    assert (file.special_ids, file.eog_ids) == (folder.special_ids, folder.eog_ids)
    assert (file.bos_id, file.eos_id, file.prefix, file.suffix) == (
        folder.bos_id, folder.eos_id, folder.prefix, folder.suffix,
    )  # fmt: skip


def test_only_what_ggufs_keys_cannot_say_takes_the_whole_tokenizer_along(real: Both) -> None:
    _, _, keys, warnings = real
    assert (
        (EMBEDDED in keys)
        == bool(warnings)
        == (keys["general.name"] == "folder" and len(keys["tokenizer.ggml.tokens"]) == 65024)
    )
    assert keys["tokenizer.ggml.model"] == ("llama" if len(keys["tokenizer.ggml.tokens"]) == 32000 else "gpt2")


DISTINCT = {rule: name for name, rule in reversed(PRE_TOKENIZERS.items()) if rule.byte_level}


@pytest.mark.parametrize(
    "name", ["llama-bpe", "qwen2", "tekken", "gpt-4o", "deepseek-v3", "bloom", "default", "starcoder"]
)
def test_a_way_of_cutting_text_is_found_by_what_it_does(name: str) -> None:
    rule = PRE_TOKENIZERS[name]
    backend = tokenizers.Tokenizer(tokenizers.models.BPE(ignore_merges=rule.ignore_merges))
    backend.pre_tokenizer = words_of(rule)
    found = find_pre_tokenizer(json.loads(backend.to_str()))
    assert found is not None
    assert PRE_TOKENIZERS[found] == rule


def test_digits_cut_apart_in_another_way_are_still_the_same_rule() -> None:
    parts = tokenizers.pre_tokenizers
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = parts.Sequence(
        [parts.Digits(individual_digits=True), parts.ByteLevel(add_prefix_space=False)]
    )
    assert PRE_TOKENIZERS[find_pre_tokenizer(json.loads(backend.to_str())) or ""] == PRE_TOKENIZERS["starcoder"]


def unknown_cut() -> tokenizers.Tokenizer:
    backend = folders.byte_level(["<eos>"])
    parts = tokenizers.pre_tokenizers
    cut = parts.Split(tokenizers.Regex(r"\p{L}{1,3}|\p{N}{1,2}|\s|[^\p{L}\p{N}\s]"), "isolated")
    backend.pre_tokenizer = parts.Sequence([cut, parts.ByteLevel(add_prefix_space=False, use_regex=False)])
    return backend


def normalised() -> tokenizers.Tokenizer:
    backend = folders.byte_level(["<eos>"])
    backend.normalizer = tokenizers.normalizers.NFC()
    return backend


def stripping() -> tokenizers.Tokenizer:
    backend = folders.byte_level()
    backend.add_special_tokens([tokenizers.AddedToken("<eos>", lstrip=True, rstrip=True)])
    return backend


def surrounded() -> tokenizers.Tokenizer:
    """As GLM's: two tokens before every text, neither of which is BOS."""
    backend = folders.byte_level(["[gMASK]", "<sop>", "<eos>"])
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="[gMASK] <sop> $A", special_tokens=[("[gMASK]", 0), ("<sop>", 1)]
    )
    return backend


@pytest.mark.parametrize("make", [unknown_cut, normalised, stripping, surrounded])
def test_what_gguf_has_no_key_for_stays_exact_and_is_told(
    make: Callable[[], tokenizers.Tokenizer], tmp_path: Path
) -> None:
    folder, file, keys, (warning,) = both(folders.made(tmp_path / "folder", make(), config={"eos_token": "<eos>"}))
    assert "tokenizer.json is kept whole" in warning
    assert EMBEDDED in keys
    for text in (*TEXTS, "a <eos>  b", "e\u0301 12345 abcdefgh"):
        for parse in (False, True):
            assert file.encode(text, parse_special=parse) == folder.encode(text, parse_special=parse), text
    assert (file.prefix, file.eog_ids) == (folder.prefix, folder.eog_ids)


def test_a_cut_without_a_name_gets_none(tmp_path: Path) -> None:
    """Other programs then say that they guess; under a wrong name they would not."""
    _, _, keys, _ = both(folders.made(tmp_path / "folder", unknown_cut()))
    assert "tokenizer.ggml.pre" not in keys


def test_rows_beyond_the_vocabulary_become_unused_tokens(tmp_path: Path) -> None:
    backend = folders.byte_level(["<eos>"])
    size = backend.get_vocab_size()
    folder, file, keys, warnings = both(folders.made(tmp_path / "folder", backend, rows=size + 7))
    assert warnings == ()
    assert keys["tokenizer.ggml.tokens"][size:] == [f"[PAD{i}]" for i in range(size, size + 7)]
    assert keys["tokenizer.ggml.token_type"][size:].tolist() == [5] * 7
    assert folder.vocab_size == file.vocab_size == size + 7
    assert len(file.encode("[PAD300]", parse_special=True)) > 1


def test_tokens_beyond_the_models_table_are_left_out_and_told(tmp_path: Path) -> None:
    backend = folders.byte_level(["<eos>"], words=["<extra>"])
    size = backend.get_vocab_size()
    folder, file, _, (warning,) = both(folders.made(tmp_path / "folder", backend, rows=size - 1))
    assert warning == f"1 tokens ('<extra>') are left out: the model's table of tokens has only {size - 1} rows"
    assert (folder.vocab_size, file.vocab_size) == (size, size - 1)
    assert file.encode("hello <extra>") != folder.encode("hello <extra>")
    assert file.encode("hello") == folder.encode("hello")


def test_a_control_token_that_is_not_marked_as_one_is_one_all_the_same(tmp_path: Path) -> None:
    """Qwen 2.5 has its fill-in-the-middle tokens as plain added tokens: what a user types must not become one."""
    words = ["<|fim_prefix|>", "<tool_call>"]
    folder, file, keys, _ = both(folders.made(tmp_path / "folder", folders.byte_level(["<eos>"], words)))
    mark, call = (folder.encode(text, parse_special=True)[0] for text in words)
    for tokenizer in (folder, file):
        assert mark not in tokenizer.encode("a<|fim_prefix|>b")
        assert call in tokenizer.encode("a<tool_call>b")
    assert [keys["tokenizer.ggml.token_type"][i] for i in (mark, call)] == [3, 4]


def test_bos_is_added_as_in_the_folder(tmp_path: Path) -> None:
    for adds in (True, False):
        config = {"bos_token": "<bos>", "eos_token": "<eos>", "add_bos_token": adds}
        folder, file, keys, _ = both(
            folders.made(tmp_path / f"folder{adds}", folders.byte_level(["<bos>", "<eos>"]), config=config)
        )
        assert keys["tokenizer.ggml.add_bos_token"] is adds
        assert file.encode("a") == folder.encode("a")


def test_a_sentencepiece_vocabulary_without_bos_does_not_get_number_one(tmp_path: Path) -> None:
    """Readers of GGUF take token 1 for BOS where a vocabulary of this kind names none."""
    path = folders.with_merges(tmp_path / "folder", trained(MODELS["llama-like"]))
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "add_bos_token": False}))
    folder, file, _, _ = both(path)
    assert folder.bos_id is file.bos_id is None
    assert file.encode("a") == folder.encode("a")


def test_scores_are_those_of_tokenizer_model_where_there_is_one(tmp_path: Path) -> None:
    model = trained(MODELS["llama-like"])
    _, _, keys, warnings = both(folders.with_merges(tmp_path / "folder", model))
    assert keys["tokenizer.ggml.scores"].tolist() == metadata_of(model)["tokenizer.ggml.scores"]
    assert warnings == ()


@pytest.mark.parametrize("name", ["t5-like", "gemma-like", "bpe, normalised"])
def test_every_kind_of_sentencepiece_model_keeps_its_ids_and_gguf_types(name: str, tmp_path: Path) -> None:
    model = trained(MODELS[name])
    rows = len(metadata_of(model)["tokenizer.ggml.tokens"]) + 3
    folder, file, _, _ = both(folders.with_sentencepiece(tmp_path / "folder", model, rows=rows))
    for text in TEXTS:
        assert file.encode(text) == folder.encode(text), text
    with open_model(tmp_path / "folder.gguf") as written:
        array = written.metadata.get("tokenizer.ggml.precompiled_charsmap")
        assert array is None or np.asarray(array).dtype == np.uint8  # or llama.cpp stops


def test_a_foreign_embedded_tokenizer_is_not_used(tmp_path: Path) -> None:
    """A GGUF whose tokenizer.huggingface.json is of another vocabulary is read by its own keys."""
    with open_import(folders.made(tmp_path / "folder", folders.byte_level(["<eos>"]))) as opened:
        metadata = dict(opened.file.metadata)
    other = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0}, []))
    file = type("File", (), {"folder": None, "metadata": metadata | {EMBEDDED: other.to_str()}})()
    assert load(file).encode("hello") == load(type("File", (), {"folder": None, "metadata": metadata})()).encode(
        "hello"
    )


def test_a_kind_that_no_known_architecture_has_is_refused(tmp_path: Path) -> None:
    model = tokenizers.models.WordLevel({"a": 0}, unk_token="a")
    with pytest.raises(InvalidTokenizer, match="'WordLevel'; known are BPE, Unigram"):
        import_folder(folders.made(tmp_path / "folder", tokenizers.Tokenizer(model)), tmp_path / "model.gguf")


def test_a_unigram_vocabulary_keeps_its_ids(tmp_path: Path) -> None:
    pieces = [
        ("<unk>", 0.0),
        ("</s>", 0.0),
        ("\u2581", -2.0),
        ("a", -1.0),
        ("b", -1.5),
        ("ab", -1.2),
        ("\u2581ab", -1.1),
    ]
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.decoder = tokenizers.decoders.Metaspace()
    backend.add_special_tokens(["<unk>", "</s>"])
    folder, file, keys, _ = both(folders.made(tmp_path / "folder", backend, config={"eos_token": "</s>"}))
    assert keys["tokenizer.ggml.model"] == "t5"
    for text in ("ab", "ab ab  b", "x ab", "aab </s>"):
        assert file.encode(text) == folder.encode(text)
