"""Id for id against the sentencepiece library, on models it trains here: Unigram and BPE, normalised and not."""

from __future__ import annotations

import io
import unicodedata
from typing import Any

import pytest
import sentencepiece

from puna.tokenizer.sentencepiece import metadata_of
from tests.tokenizer.texts import NASTY, fuzz
from tests.tokenizer.vocabularies import tokenizer_of

MODELS: dict[str, dict[str, Any]] = {
    "t5-like": {"model_type": "unigram"},
    "xlm-like": {"model_type": "unigram", "bos_id": 0, "unk_id": 3, "pad_id": 1, "eos_id": 2},
    "unigram with bytes": {"model_type": "unigram", "byte_fallback": True, "normalization_rule_name": "identity"},
    "llama-like": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "split_digits": True,
    },
    "gemma-like": {
        "model_type": "bpe",
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "user_defined_symbols": ["<start_of_turn>", "\u2581\u2581", "\u2581\u2581\u2581\u2581"],
    },
    "bpe, normalised": {
        "model_type": "bpe",
    },
}
# The library ends text at a zero; it takes a visible blank of the text's own for a blank.
TEXTS = [text for text in (*NASTY, *fuzz(51, 400)) if not {"\0", "\u2581"} & set(text)]


def trained(options: dict[str, Any]) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(NASTY * 3 + tuple(fuzz(52, 400))),
        model_writer=model,
        vocab_size=1500,
        character_coverage=0.98,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=3,
        **options,
    )
    return model.getvalue()


@pytest.mark.parametrize("name", MODELS)
def test_ids_equal_the_librarys(name: str) -> None:
    model = trained(MODELS[name])
    oracle = sentencepiece.SentencePieceProcessor(model_proto=model)
    flags = {"tokenizer.ggml.add_bos_token": False, "tokenizer.ggml.add_eos_token": False}
    metadata = metadata_of(model) | flags
    ours = tokenizer_of(metadata)
    assert ours.vocab_size == oracle.get_piece_size()
    for text in TEXTS:
        if "normalization_rule_name" not in MODELS[name] and has_marks(text):
            continue
        ids, wanted = ours.encode(text), oracle.encode(text)
        if MODELS[name]["model_type"] == "unigram" and ids != wanted:
            # Of two equally good ways to cut a text either may be taken.
            scores = metadata["tokenizer.ggml.scores"]
            assert sum(scores[i] for i in ids) == pytest.approx(sum(scores[i] for i in wanted), abs=1e-6), text
            assert ours.decode(ids) == ours.decode(wanted)
        else:
            assert ids == wanted, text


def has_marks(text: str) -> bool:
    """Whether the `tokenizers` library may lose a mark of it in normalising (see `building._normalisation`)."""
    return any(unicodedata.category(char)[0] == "M" for char in text)
