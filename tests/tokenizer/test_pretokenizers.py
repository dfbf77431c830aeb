"""How each pre-tokenizer cuts text. Against llama.cpp: test_llama_cpp.py; here what llama.cpp only approximates."""

from __future__ import annotations

import pytest
from tokenizers import Regex, pre_tokenizers

from puna.tokenizer.pretokenizers import PRE_TOKENIZERS
from tests.tokenizer import vocabularies
from tests.tokenizer.texts import NASTY

DISTINCT = {rule: name for name, rule in PRE_TOKENIZERS.items() if rule.byte_level}


def words(name: str, text: str) -> list[str]:
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in PRE_TOKENIZERS[name].patterns]
    return [word for word, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str(text)]


@pytest.mark.parametrize("name", sorted(DISTINCT.values()))
def test_no_pre_tokenizer_loses_or_reorders_text(name: str) -> None:
    metadata = vocabularies.cria() | {"tokenizer.ggml.pre": name}
    tokenizer = vocabularies.tokenizer_of(metadata)
    for text in NASTY:
        assert "".join(words(name, text)) == text
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_patterns_are_ascii_so_that_no_editor_normalises_them() -> None:
    assert all(pattern.isascii() for rule in PRE_TOKENIZERS.values() for pattern in rule.patterns)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("llama3", "It's 12345 l'ÉTÉ", ["It", "'s", " ", "123", "45", " l", "'ÉTÉ"]),
        ("qwen2", "It's 123", ["It", "'s", " ", "1", "2", "3"]),
        ("gpt-4o", "camelCase ÀÉcole's", ["camel", "Case", " ÀÉcole's"]),
        ("gpt-4o", "éÉ", ["é", "É"]),
        ("tekken", "éÉ's 12", ["é", "É", "'s", " ", "1", "2"]),
        ("kimi-k2", "我们Go你好", ["我们", "Go", "你好"]),
        ("kimi-k2", "HTTPServer", ["HTTPServer"]),
        ("youtu", "你好한국ab", ["你好", "한국", "ab"]),
        ("tiny_aya", "1234567 ", ["1", "234", "567", " "]),
        ("afmoe", "12345a", ["12", "345", "a"]),
        ("superbpe", "12345a b", ["12", "345", "a b"]),
        ("deepseek-v3", "你好12345", ["你好", "123", "45"]),
        ("gemma4", "a b\n\nc", ["a b", "\n\n", "c"]),
    ],
)
def test_words(name: str, text: str, expected: list[str]) -> None:
    assert words(name, text) == expected
