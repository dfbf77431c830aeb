"""Id for id against mistral-common, sentencepiece and tiktoken, on Mistral's vocabularies."""

from __future__ import annotations

import pytest
from mistral_common.tokens.tokenizers.sentencepiece import SentencePieceTokenizer
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from puna.tokenizer import Tokenizer
from tests.tokenizer import vocabularies
from tests.tokenizer.texts import NASTY, fuzz

TEXTS = (*NASTY, *fuzz(11, 500))
DATA = vocabularies.package_folder("mistral_common") / "data"


@pytest.fixture(scope="module")
def tekken() -> Tokenizer:
    return vocabularies.tokenizer_of(vocabularies.tekken())


def test_tekken_ids_equal_mistral_commons(tekken: Tokenizer) -> None:
    oracle = Tekkenizer.from_file(DATA / "tekken_240911.json")
    assert tekken.vocab_size == oracle.n_words
    for text in TEXTS:
        assert tekken.encode(text) == oracle.encode(text, bos=True, eos=False), text


def test_every_tekken_token_has_its_exact_bytes(tekken: Tokenizer) -> None:
    oracle = Tekkenizer.from_file(DATA / "tekken_240911.json")
    for token in range(len(tekken.special_ids), tekken.vocab_size):
        assert tekken.token_bytes(token) == oracle.id_to_byte_piece(token)


@pytest.mark.parametrize("name", ["tokenizer.model.v1", "mistral_instruct_tokenizer_241114.model.v7"])
def test_sentencepiece_ids_equal_the_librarys(name: str) -> None:
    ours = vocabularies.tokenizer_of(vocabularies.mistral(name))
    oracle = SentencePieceTokenizer(DATA / name)
    for text in TEXTS:
        if "\0" in text or "\u2581" in text:
            continue  # the library ends text at a zero, and takes a visible blank of the text's own for a blank
        assert ours.encode(text) == oracle.encode(text, bos=True, eos=False), text


def test_runs_of_blanks_are_gathered_from_the_left() -> None:
    # All tokens of blanks have one score; SentencePiece then merges the leftmost pair.
    ours = vocabularies.tokenizer_of(vocabularies.mistral())
    oracle = SentencePieceTokenizer(DATA / "tokenizer.model.v1")
    for count in range(1, 100):
        text = " " * count + "x"
        assert ours.encode(text) == oracle.encode(text, bos=True, eos=False), count
