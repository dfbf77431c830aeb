"""Encoding, decoding and streaming, as promised whatever the vocabulary."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidRequest
from puna.tokenizer import Tokenizer
from tests.tokenizer import vocabularies
from tests.tokenizer.texts import NASTY, fuzz

CRIA = vocabularies.tokenizer_of(vocabularies.cria())
MISTRAL = vocabularies.tokenizer_of(vocabularies.mistral())
BOTH = pytest.mark.parametrize("tokenizer", [CRIA, MISTRAL], ids=["cria", "mistral"])
IDS = st.lists(st.integers(0, CRIA.vocab_size - 1), max_size=40)


@given(st.text())
def test_byte_level_decoding_gives_any_text_back(text: str) -> None:
    assert CRIA.decode(CRIA.encode(text)) == text


@given(st.text())
def test_sentencepiece_decoding_gives_any_text_back_but_for_visible_blanks(text: str) -> None:
    assert MISTRAL.decode(MISTRAL.encode(text)) == text.replace("\u2581", " ")


@given(IDS, st.booleans())
def test_pushes_add_up_to_the_whole_decode_for_any_ids(ids: list[int], skip_special: bool) -> None:
    for tokenizer in (CRIA, MISTRAL):
        stream = tokenizer.detokenizer(skip_special=skip_special)
        assert "".join(map(stream.push, ids)) + stream.flush() == tokenizer.decode(ids, skip_special)


@given(st.text(min_size=1))
def test_no_push_ends_inside_a_character(text: str) -> None:
    for tokenizer in (CRIA, MISTRAL):
        stream = tokenizer.detokenizer()
        pushed = [stream.push(i) for i in tokenizer.encode(text)]
        assert "\ufffd" in text or not any("\ufffd" in piece for piece in pushed)
        assert stream.flush() == ""


def test_an_emoji_of_several_tokens_comes_out_once_and_whole() -> None:
    ids = CRIA.encode("\U0001f468")
    assert len(ids) > 1
    stream = CRIA.detokenizer()
    assert [stream.push(i) for i in ids] == [""] * (len(ids) - 1) + ["\U0001f468"]


def test_a_stream_cut_inside_a_character_ends_in_one_replacement_character() -> None:
    stream = CRIA.detokenizer()
    assert "".join(map(stream.push, CRIA.encode("a\U0001f468")[:-1])) == "a"
    assert stream.flush() == "\ufffd"


@BOTH
def test_decoding_is_the_tokens_bytes_in_a_row(tokenizer: Tokenizer) -> None:
    for text in NASTY:
        pieces = b"".join(tokenizer.token_bytes(i) for i in tokenizer.encode(text, add_special=False))
        expected = text.replace("\u2581", " ") if tokenizer is MISTRAL else text
        assert pieces.removeprefix(b" " if tokenizer is MISTRAL else b"") == expected.encode(), text


def test_the_blank_sentencepiece_adds_is_taken_away_once_and_only_at_the_start() -> None:
    ids = MISTRAL.encode("hello world", add_special=False)
    assert MISTRAL.decode(ids) == "hello world"
    assert MISTRAL.decode(MISTRAL.encode("  hello")) == "  hello"
    stream = MISTRAL.detokenizer(continues=True)
    assert "".join(map(stream.push, ids)) == " hello world"
    assert MISTRAL.decode([1, *ids]) == "hello world"  # BOS is no text
    assert MISTRAL.decode([1, *ids], skip_special=False) == "<s> hello world"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("a\udcffb", "a\ufffdb"),
        (b"caf\xe9".decode("utf-8", "surrogateescape"), "caf\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d", "\ufffd"),
    ],
)
@BOTH
def test_invalid_unicode_is_replaced_not_a_crash(tokenizer: Tokenizer, text: str, means: str) -> None:
    assert tokenizer.encode(text) == tokenizer.encode(means)
    assert tokenizer.decode(tokenizer.encode(text)) == means


@pytest.mark.parametrize("token", [-1, 2048, 10**12])
def test_ids_out_of_range_are_the_callers_error(token: int) -> None:
    for ask in (CRIA.token_bytes, CRIA.token_text, CRIA.detokenizer().push):
        with pytest.raises(InvalidRequest, match="0 to 2047"):
            ask(token)
    with pytest.raises(InvalidRequest):
        CRIA.decode([1, token])


def test_cria_ends_answers_at_its_own_tokens() -> None:
    assert {CRIA.token_text(i) for i in CRIA.eog_ids} >= {"<|im_end|>", "<|endoftext|>"}
    assert CRIA.warnings == ()
    assert CRIA.encode("<|im_end|>", parse_special=True) == [CRIA.eos_id]
    assert not CRIA.special_ids & set(CRIA.encode("<|im_start|><|im_end|><|endoftext|>"))


@BOTH
def test_threads_parsing_and_not_parsing_do_not_disturb_each_other(tokenizer: Tokenizer) -> None:
    texts = [f"{text}</s><|im_end|>" for text in fuzz(41, 40)]

    def both(text: str) -> tuple[list[int], list[int]]:
        return tokenizer.encode(text), tokenizer.encode(text, parse_special=True)

    expected = [both(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(both, texts)) == expected
