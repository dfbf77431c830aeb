"""Imported files in llama.cpp (xllamacpp): it takes them, answers as we do, and cuts text as the folder's tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tokenizers

from puna.conversion import import_folder
from puna.gguf import GGMLType, open_model
from puna.tokenizer import load
from tests.conversion import folders
from tests.gguf.huggingface.folders import write_json
from tests.models import tiny
from tests.models.running import VOCAB
from tests.models.test_llama_cpp import _check
from tests.tokenizer.llama_cpp import llama_cpp
from tests.tokenizer.texts import NASTY, fuzz


def _random_model(folder: Path, name: str) -> Path:
    """One of `tiny`'s with more tokens, which are whole letters (of parts llama.cpp tells no probabilities)."""
    tensors, random = tiny.weights(name), np.random.default_rng(3)
    for key, scale in (("model.embed_tokens.weight", 1.0), ("lm_head.weight", tensors["lm_head.weight"].std())):
        shape = VOCAB, tensors[key].shape[1]
        tensors[key] = random.normal(0, scale, shape).astype(np.float32)
    tiny.write_folder(folder, name, tensors=tensors, dtype="BF16", changes={"vocab_size": VOCAB})
    letters = [*"t0123456789"]
    texts = [*letters, *(f"t{i}" for i in range(VOCAB - len(letters)))]
    backend = tokenizers.Tokenizer(tokenizers.models.BPE({text: i for i, text in enumerate(texts)}, [("t", "0")]))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"eos_token": texts[2]})
    return folder


@pytest.mark.parametrize("name", ["llama3_rope", "llama_bias", "mistral", "qwen2"])
def test_an_imported_model_decodes_as_in_llama_cpp(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    import_folder(_random_model(tmp_path / "folder", name), path, GGMLType.F16)
    random = np.random.default_rng(7)
    prompts = [random.integers(3, VOCAB, random.integers(1, 40)).tolist() for _ in range(4)]
    _check(path, prompts, steps=40, noise=0.04, ties=0.15)


def test_llama_cpp_cuts_text_as_the_folders_tokenizer_does(tmp_path: Path) -> None:
    folder, target = folders.mistral(tmp_path / "folder"), tmp_path / "model.gguf"
    import_folder(folder, target)
    with open_model(folder) as source, open_model(target) as file:
        ours = load(source)
        plain = {key: getattr(value, "tolist", lambda value=value: value)() for key, value in file.metadata.items()}
        with llama_cpp(plain) as theirs:
            for text in (*NASTY, *fuzz(5, 100)):
                if "\0" not in text:  # no C string holds it
                    assert theirs.encode(text, add_special=True) == ours.encode(text), text
