"""Id for id against llama.cpp, on the same vocabulary."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from puna.tokenizer import Tokenizer
from puna.tokenizer.pretokenizers import PRE_TOKENIZERS
from tests.tokenizer import vocabularies
from tests.tokenizer.llama_cpp import LlamaCpp, llama_cpp
from tests.tokenizer.texts import NASTY, fuzz

# No text with a zero: the server's JSON carries it, llama.cpp's C strings do not always.
TEXTS = [text for text in (*NASTY, *fuzz(1, 300)) if "\0" not in text]
VOCABULARIES = {"cria": vocabularies.cria, "mistral": vocabularies.mistral, "gemma4": vocabularies.gemma4}

Pair = tuple[Tokenizer, LlamaCpp]


@pytest.fixture(scope="module", params=VOCABULARIES)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    metadata = VOCABULARIES[request.param]()
    with llama_cpp(metadata) as oracle:
        yield vocabularies.tokenizer_of(metadata), oracle


def test_ids_equal_llama_cpps_on_nasty_text(pair: Pair) -> None:
    ours, oracle = pair
    for text in TEXTS:
        assert ours.encode(text) == oracle.encode(text, add_special=True), text


@pytest.mark.parametrize("parse_special", [False, True])
def test_special_tokens_in_text_become_ids_only_when_asked(pair: Pair, parse_special: bool) -> None:
    ours, oracle = pair
    source = random.Random(2)
    special = [ours.token_text(i) for i in sorted(ours.special_ids)]
    for left, right in zip(fuzz(3, 100), fuzz(4, 100), strict=True):
        text = "".join(source.choice((left, right, " ", *special)) for _ in range(5))
        wanted = oracle.encode(text, add_special=True, parse_special=parse_special)
        assert ours.encode(text, parse_special=parse_special) == wanted, text


# llama.cpp only approximates these models' own patterns; test_pretokenizers.py and test_mistral.py have them.
APPROXIMATED = {
    "gpt-4o",
    "llama4",
    "kanana2",
    "talkie",
    "minimax-m2",
    "granite-embed-multi-97m",
    "tiny_aya",
    "cohere2moe",
    "tekken",
    "youtu",
    "kimi-k2",
    "afmoe",
}
NOT_BYTE_LEVEL = {"gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace"}
ONE_OF_EACH = {rule: name for name, rule in PRE_TOKENIZERS.items() if name not in APPROXIMATED | NOT_BYTE_LEVEL}


@pytest.mark.parametrize("name", sorted(ONE_OF_EACH.values()))
def test_each_pre_tokenizer_cuts_as_llama_cpp_does(name: str) -> None:
    metadata = vocabularies.cria() | {"tokenizer.ggml.pre": name, "tokenizer.ggml.add_bos_token": False}
    ours = vocabularies.tokenizer_of(metadata)
    with llama_cpp(metadata) as oracle:
        for text in TEXTS[:150]:
            assert ours.encode(text) == oracle.encode(text, add_special=True), text
