"""A folder with one damaged file is imported, or refused with a reason and without half a file left behind."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.conversion import import_folder
from puna.errors import PunaError
from puna.gguf import open_model
from puna.tokenizer import load
from tests.conversion import folders
from tests.gguf.huggingface.folders import CONFIG

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
changes = st.tuples(st.integers(0, 4000), st.binary(max_size=6), st.integers(0, 6))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = folders.tiny_model(tmp_path_factory.mktemp("model") / "folder")
    (path / "tokenizer_config.json").write_text(
        '{"bos_token": "<s>", "added_tokens_decoder": {"1": {"content": "<s>"}}}'
    )
    (path / "generation_config.json").write_text('{"eos_token_id": [2]}')
    (path / "special_tokens_map.json").write_text('{"eos_token": "</s>"}')
    (path / "README.md").write_text("---\nlicense: mit\n---\n")
    return path


def harmless(folder: Path, name: str, content: bytes) -> None:
    """Import with that file's content; then all is as it was."""
    kept, target = (folder / name).read_bytes(), folder.with_name("model.gguf")
    (folder / name).write_bytes(content)
    target.unlink(missing_ok=True)
    tracemalloc.start()
    try:
        import_folder(folder, target)
        with open_model(target) as file:
            load(file).encode("a word3 <s>", parse_special=True)
    except PunaError:
        assert not target.exists()  # what was written can be read
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        (folder / name).write_bytes(kept)
    assert {path.name for path in folder.parent.iterdir()} <= {"folder", "model.gguf"}
    assert peak < 20_000_000


NAMES = ("config.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "README.md")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([*NAMES, "tokenizer.model", "model.safetensors"]), st.lists(changes, min_size=1, max_size=3))
def test_damaged_bytes_do_no_harm(folder: Path, name: str, edits: list[tuple[int, bytes, int]]) -> None:
    content = bytearray((folder / name).read_bytes())
    for at, what, cut in edits:
        place = at % (len(content) + 1)
        content[place : place + cut] = what
    harmless(folder, name, bytes(content))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(NAMES[:4]),
    st.dictionaries(
        st.sampled_from(
            [
                *CONFIG,
                "bos_token",
                "eos_token",
                "eos_token_id",
                "add_bos_token",
                "added_tokens_decoder",
                "chat_template",
            ]
        ),
        json_values,
        max_size=3,
    ),
)
def test_values_of_any_kind_do_no_harm(folder: Path, name: str, values: dict[str, Any]) -> None:
    whole = json.loads((folder / name).read_text())
    harmless(folder, name, json.dumps(whole | values).encode())


SPLIT = {"type": "Split", "behavior": "Isolated", "invert": False}
PARTS: list[dict[str, Any]] = [
    {"model": {"type": "BPE", "vocab": {"a": 4_000_000_000}, "merges": []}},
    {"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}, "merges": []}},
    {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "zz"]]}},
    {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": [["a"]]}},
    {"model": {"type": "Unigram", "vocab": [], "unk_id": 7}},
    {"model": {"type": "Unigram", "vocab": [["a", float("nan")]], "unk_id": 0}},
    {"pre_tokenizer": SPLIT | {"pattern": {"Regex": "("}}},
    {"pre_tokenizer": SPLIT | {"pattern": {"Regex": "(?:(?:a|a)|a)+[0-9]"}}},  # takes exponential time
    {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "/////w=="}},
    {"normalizer": {"type": "Replace", "pattern": {"String": ""}, "content": "b" * 100}},
    {"added_tokens": [{"id": 9_000_000, "content": "x", "single_word": False, "lstrip": False, "rstrip": False,
                       "normalized": False, "special": True}]},
    {"post_processor": {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}},
    {"decoder": {"type": "Sequence", "decoders": [{"type": "Strip", "content": " ", "start": 1 << 40, "stop": 0}]}},
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{next(iter(part))} {str(part)[:40]}")
def test_a_lying_tokenizer_json_does_no_harm(part: dict[str, Any], tmp_path: Path) -> None:
    path = folders.made(tmp_path / "folder", folders.byte_level(["<eos>"]))
    whole = json.loads((path / "tokenizer.json").read_text())
    harmless(path, "tokenizer.json", json.dumps(whole | part).encode())
