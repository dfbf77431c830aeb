"""A SentencePiece model file (`tokenizer.model`) as the metadata a GGUF of it would have.

Knows the fields of sentencepiece_model.proto that make a tokenizer; the rest is for training.
"""

from __future__ import annotations

from typing import Any

from puna.errors import InvalidTokenizer
from puna.tokenizer.pieces import BLANK
from puna.tokenizer.protobuf import fields, float32
from puna.tokenizer.special import TokenType

# ModelProto
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
# ModelProto.SentencePiece
_TEXT, _SCORE, _TYPE = 1, 2, 3
# TrainerSpec
_MODEL_TYPE, _UNK_ID, _BOS_ID, _EOS_ID = 3, 40, 41, 42
_UNIGRAM, _BPE = 1, 2
# NormalizerSpec
_CHARSMAP, _ADD_DUMMY_PREFIX, _REMOVE_EXTRA_WHITESPACES = 2, 3, 4


def metadata_of(model: bytes) -> dict[str, Any]:
    """`tokenizer.ggml.*` for a serialised ModelProto. Raises `InvalidTokenizer`."""
    tokens: list[str] = []
    scores: list[float] = []
    types: list[int] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for field, value in fields(model):
        if field == _PIECES:
            text, score, kind = _piece(_message(value))
            tokens.append(text)
            scores.append(score)
            types.append(kind)
        elif field == _TRAINER:
            trainer = dict(fields(_message(value)))
        elif field == _NORMALIZER:
            normalizer = dict(fields(_message(value)))
    kinds = {_UNIGRAM: "t5", _BPE: "llama"}
    model_type = trainer.get(_MODEL_TYPE, _UNIGRAM)
    if model_type not in kinds:
        raise InvalidTokenizer(f"the SentencePiece model is of type {model_type!r}; unigram (1) and BPE (2) are known")
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": kinds[int(model_type)],
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.add_space_prefix": bool(normalizer.get(_ADD_DUMMY_PREFIX, 1)),
        "tokenizer.ggml.remove_extra_whitespaces": bool(normalizer.get(_REMOVE_EXTRA_WHITESPACES, 1)),
    }
    if charsmap := normalizer.get(_CHARSMAP):
        metadata["tokenizer.ggml.precompiled_charsmap"] = charsmap
    for name, number, default in (("unknown", _UNK_ID, 0), ("bos", _BOS_ID, 1), ("eos", _EOS_ID, 2)):
        metadata[f"tokenizer.ggml.{name}_token_id"] = _signed(trainer.get(number, default))
    return metadata


def _piece(message: bytes) -> tuple[str, float, int]:
    values = dict(fields(message))
    try:
        text = _message(values.get(_TEXT, b"")).decode()
    except UnicodeDecodeError as error:
        raise InvalidTokenizer(f"a piece of the SentencePiece model is not UTF-8: {error}") from error
    kind = values.get(_TYPE, int(TokenType.NORMAL))
    if not isinstance(kind, int):
        raise InvalidTokenizer(f"a piece of the SentencePiece model has type {kind!r}")
    if kind == TokenType.USER_DEFINED:
        text = text.replace(BLANK, " ")  # these are looked for in the text as it is, blanks and all
    return text, float32(values.get(_SCORE, 0)), kind


def _message(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise InvalidTokenizer("the SentencePiece model has a number where a message belongs")
    return value


def _signed(value: int | bytes) -> int | bytes:
    """A protobuf int32: negative ones ("no such token") are written as 64-bit two's complement."""
    return value - (1 << 64) if isinstance(value, int) and value >= 1 << 63 else value
