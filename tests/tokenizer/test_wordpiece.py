"""BERT's WordPiece, id for id against all-MiniLM's own tokenizer (a golden: see make_goldens.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from puna.tokenizer import Tokenizer
from tests.tokenizer.vocabularies import CONTROL, NORMAL, tokenizer_of


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((Path(__file__).parent / "goldens" / "wordpiece.json").read_text())
    return value


@pytest.fixture(scope="module")
def minilm(golden: dict[str, Any]) -> Tokenizer:
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    return tokenizer_of(
        {
            "tokenizer.ggml.model": "bert",
            "tokenizer.ggml.tokens": [_gguf_spelling(t) for t in golden["tokens"]],
            "tokenizer.ggml.token_type": [CONTROL if t in special else NORMAL for t in golden["tokens"]],
            "tokenizer.ggml.unknown_token_id": 1,
            "tokenizer.ggml.bos_token_id": 2,
            "tokenizer.ggml.seperator_token_id": 3,
        }
    )


def _gguf_spelling(token: str) -> str:
    """GGUF marks the words that begin, BERT those that go on; names in brackets stay."""
    if token.startswith("[") and token.endswith("]") and len(token) > 2:
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token


def test_ids_equal_all_minilms(golden: dict[str, Any], minilm: Tokenizer) -> None:
    for text, ids in zip(golden["texts"], golden["ids"], strict=True):
        parse = any(golden["tokens"][i] in ("[MASK]", "[PAD]") for i in ids[1:-1])
        if parse or "[CLS]" in text:
            assert minilm.encode(text, parse_special=True) == ids, text
        else:
            assert minilm.encode(text) == ids, text


def test_decoding_joins_words_and_drops_the_frame(minilm: Tokenizer) -> None:
    ids = minilm.encode("unaffable embeddings, tokenization")
    assert minilm.decode(ids) == "unaffable embeddings , tokenization"
    assert minilm.decode(ids, skip_special=False) == "[CLS] unaffable embeddings , tokenization[SEP]"


def test_special_names_in_a_users_text_stay_text(minilm: Tokenizer) -> None:
    plain = minilm.encode("[SEP]", add_special=False)
    assert not minilm.special_ids - {1} & set(plain)
    assert minilm.encode("[SEP]", add_special=False, parse_special=True) == [3]
