"""What a file says of its vocabulary: defaults, repairs, and refusals that name the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidTokenizer
from puna.tokenizer.pieces import byte_alphabet
from tests.tokenizer.vocabularies import CONTROL, NORMAL, USER_DEFINED, tokenizer_of

KEY = "tokenizer.ggml."
LETTERS = list(byte_alphabet())


def gpt2(*more: str, types: list[int] | None = None, **keys: Any) -> dict[str, Any]:
    """A byte-level vocabulary of the 256 bytes and `more` tokens."""
    metadata = {
        KEY + "model": "gpt2",
        KEY + "pre": "qwen2",
        KEY + "tokens": [*LETTERS, *more],
        KEY + "token_type": [NORMAL] * 256 + (types or [CONTROL] * len(more)),
        KEY + "merges": [],
    }
    return metadata | {KEY + name: value for name, value in keys.items()}


def llama(**keys: Any) -> dict[str, Any]:
    """A SentencePiece vocabulary of a few pieces and the 256 bytes."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "\u2581", "a", "\u2581a"]
    metadata = {
        KEY + "model": "llama",
        KEY + "tokens": tokens,
        KEY + "token_type": [2, 3, 3] + [6] * 256 + [1] * 3,
        KEY + "scores": [0.0] * 259 + [-2.0, -3.0, -1.0],
    }
    return metadata | {KEY + name: value for name, value in keys.items()}


def test_a_sentencepiece_file_adds_bos_and_a_blank_by_default() -> None:
    tokenizer = tokenizer_of(llama())
    assert tokenizer.encode("a") == [1, 261]
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert tokenizer_of(llama(add_space_prefix=False)).encode("a") == [1, 260]
    assert tokenizer_of(llama(add_bos_token=False)).encode("a") == [261]
    assert tokenizer_of(llama(add_eos_token=True)).encode("a") == [1, 261, 2]


def test_bytes_without_a_piece_are_encoded_as_byte_tokens() -> None:
    tokenizer = tokenizer_of(llama())
    assert tokenizer.encode("\u00e9", add_special=False) == [259, 3 + 0xC3, 3 + 0xA9]
    assert tokenizer.token_bytes(3 + 0xC3) == b"\xc3"


def test_a_byte_level_file_adds_nothing_unless_told() -> None:
    assert tokenizer_of(gpt2("<s>", bos_token_id=256)).encode("a") == tokenizer_of(gpt2()).encode("a")
    assert tokenizer_of(gpt2("<s>", bos_token_id=256, add_bos_token=True)).encode("")[:1] == [256]
    assert tokenizer_of(gpt2("<s>", pre="llama-bpe", bos_token_id=256)).add_bos


def test_ends_of_generation_are_found_by_key_and_by_text() -> None:
    tokenizer = tokenizer_of(gpt2("<|im_end|>", "<stop>", "<turn>", "<other>", eos_token_id=257, eot_token_id=258))
    assert tokenizer.eog_ids == {256, 257, 258}


def test_every_end_that_a_folder_named_ends_an_answer() -> None:
    metadata = gpt2("<one>", "<two>") | {"puna.eos_token_ids": np.array([1, 2], np.int32)}
    assert {1, 2} <= tokenizer_of(metadata).eog_ids
    with pytest.raises(InvalidTokenizer, match="eos_token_ids"):
        tokenizer_of(metadata | {"puna.eos_token_ids": [1 << 40]})


def test_harmonys_end_of_message_does_not_end_an_answer() -> None:
    tokenizer = tokenizer_of(gpt2("<|end|>", "<|return|>", "<|call|>"))
    assert tokenizer.eog_ids == {257, 258}
    assert tokenizer_of(gpt2("<|end|>")).eog_ids == {256}


def test_control_tokens_marked_as_text_are_control_tokens_all_the_same() -> None:
    tokenizer = tokenizer_of(gpt2("<|im_end|>", "<tool>", types=[USER_DEFINED, USER_DEFINED]))
    assert 256 not in tokenizer.encode("<|im_end|>")
    assert tokenizer.encode("<|im_end|>", parse_special=True) == [256]
    assert tokenizer.encode("<tool>") == [257]
    assert tokenizer.special_ids == {256}


def test_merges_cannot_spell_a_control_token() -> None:
    tokenizer = tokenizer_of(gpt2("ab", merges=["a b"]))
    assert tokenizer.encode("ab") != [256]
    assert tokenizer.encode("ab", parse_special=True) == [256]
    assert tokenizer_of(gpt2("ab", types=[NORMAL], merges=["a b"])).encode("ab") == [256]


def test_unigrams_control_tokens_do_not_win_over_text() -> None:
    metadata = {
        KEY + "model": "t5",
        KEY + "tokens": ["<pad>", "</s>", "<unk>", "\u2581", "<", "/", "s", ">", "\u2581s"],
        KEY + "token_type": [3, 3, 2, 1, 1, 1, 1, 1, 1],
        KEY + "scores": [0.0, 0.0, 0.0, -2.0, -3.0, -3.0, -3.0, -3.0, -2.5],
        KEY + "add_space_prefix": True,
    }
    tokenizer = tokenizer_of(metadata)
    assert tokenizer.encode("s</s>") == [8, 4, 5, 6, 7, 1]
    assert tokenizer.encode("s</s>", parse_special=True) == [8, 1, 1]
    assert tokenizer.decode(tokenizer.encode("s</s>")) == "s</s>"


def test_user_defined_tokens_in_the_byte_alphabet_keep_their_own_text() -> None:
    # U+00F7 is also the stand-in of byte 0xF7: DeepSeek's vocabulary has it as a token of its own.
    tokenizer = tokenizer_of(gpt2("\u00f7\u00f7", types=[USER_DEFINED]))
    assert tokenizer.token_bytes(256) == "\u00f7\u00f7".encode()
    assert tokenizer.decode(tokenizer.encode("6 \u00f7\u00f7 2")) == "6 \u00f7\u00f7 2"


def test_arrays_may_be_numpys() -> None:
    metadata = llama()
    metadata[KEY + "scores"] = np.array(metadata[KEY + "scores"], np.float32)
    metadata[KEY + "token_type"] = np.array(metadata[KEY + "token_type"], np.int32)
    assert tokenizer_of(metadata).encode("a") == [1, 261]


def test_what_is_assumed_is_reported() -> None:
    metadata = gpt2()
    del metadata[KEY + "pre"]
    assert any("tokenizer.ggml.pre" in warning for warning in tokenizer_of(metadata).warnings)
    metadata = gpt2(eos_token_id=3)
    metadata[KEY + "tokens"][5] = "<lost>"
    assert any("no token" in warning for warning in tokenizer_of(metadata).warnings)
    assert any("end an answer" in warning for warning in tokenizer_of(gpt2()).warnings)
    assert any("no text" in warning for warning in tokenizer_of(gpt2("", types=[NORMAL])).warnings)


BAD = {
    "no model": ({KEY + "tokens": ["a"]}, "tokenizer.ggml.model"),
    "unknown model": (gpt2(model="rwkv"), "rwkv"),
    "unknown pre": (gpt2(pre="nonsense"), "nonsense"),
    "model not text": (gpt2(model=3), "not text"),
    "no tokens": (gpt2(tokens=[]), "tokens"),
    "tokens not a list": (gpt2(tokens="abc"), "not an array"),
    "a token that is a number": (gpt2(tokens=["a", 3]), "tokens[1]"),
    "a token that is bytes": (gpt2(tokens=[b"a"]), "tokens[0]"),
    "a token with a lone surrogate": (gpt2(tokens=["a\ud800"]), "Unicode"),
    "the same token twice": (gpt2("a"), "twice"),
    "types too few": (gpt2(token_type=[1]), "token_type"),
    "types not numbers": (gpt2(token_type=["x"] * 256), "token_type[0]"),
    "no merges": (gpt2(merges=None), "merges"),
    "a merge of one piece": (gpt2(merges=["ab"]), "merges[0]"),
    "a merge of nothing": (gpt2(merges=["a "]), "merges[0]"),
    "a merge of unknown pieces": (gpt2(merges=["zz yy"]), "zz"),
    "a merge into an unknown piece": (gpt2(merges=["a b"]), "ab"),
    "an id out of range": (gpt2(eos_token_id=256), "eos_token_id"),
    "an id below zero": (gpt2(eos_token_id=-7), "eos_token_id"),
    "an id that is text": (gpt2(bos_token_id="1"), "bos_token_id"),
    "BOS wanted, none named": (gpt2(add_bos_token=True), "bos_token_id"),
    "a flag that is a number": (gpt2(add_bos_token=1), "add_bos_token"),
    "scores missing": (llama(scores=None), "scores"),
    "scores too few": (llama(scores=[0.0]), "scores"),
    "a score that is no number": (llama(scores=[float("nan")] * 262), "scores[0]"),
    "a byte token that is none": (llama(token_type=[2, 3, 3] + [6] * 259), "BYTE"),
    "an endless piece": (llama(tokens=[*llama()[KEY + "tokens"][:-1], "a" * 5000]), "5000"),
    "no unknown token for WordPiece": (gpt2(model="bert", tokens=["a"], token_type=[1]), "unknown_token_id"),
    "a character map cut short": (
        llama(model="t5", unknown_token_id=0, precompiled_charsmap=[8, 0, 0, 0, 1]),
        "charsmap",
    ),
    "a character map that leads outside": (
        llama(model="t5", unknown_token_id=0, precompiled_charsmap=bytes([4, 0, 0, 0, 0, 0xFC, 0xFF, 0x7F, 97, 0])),
        "charsmap",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_hostile_metadata_is_refused_with_the_reason(name: str) -> None:
    metadata, reason = BAD[name]
    with pytest.raises(InvalidTokenizer) as raised:
        tokenizer_of({key: value for key, value in metadata.items() if value is not None})
    assert reason in str(raised.value)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 300),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=40),
    st.lists(st.one_of(st.text(max_size=4), st.integers(-2, 300), st.floats()), max_size=8),
)
NAMES = ["model", "pre", "tokens", "token_type", "scores", "merges", "bos_token_id", "eos_token_id"]
NAMES += ["unknown_token_id", "add_bos_token", "add_space_prefix", "precompiled_charsmap", "remove_extra_whitespaces"]


@given(st.sampled_from(["gpt2", "llama", "t5", "bert"]), st.dictionaries(st.sampled_from(NAMES), JUNK, max_size=4))
def test_any_junk_either_works_or_is_refused(kind: str, junk: dict[str, Any]) -> None:
    base = gpt2("<s>") if kind == "gpt2" else llama(unknown_token_id=0, seperator_token_id=2, bos_token_id=1)
    metadata = base | {KEY + "model": kind} | {KEY + name: value for name, value in junk.items()}
    try:
        tokenizer = tokenizer_of(metadata)
        tokenizer.decode(tokenizer.encode("a <s> \u00e9", parse_special=True))
    except InvalidTokenizer:
        return
