"""`tokenizer.ggml.*` for a Hugging Face folder, by the rules of llama.cpp's convert_hf_to_gguf.py.

What GGUF's keys cannot say of a tokenizer (how it normalises text, a way of cutting it that has no name) is noticed by
reading the keys back and comparing with the folder's own tokenizer; then the whole tokenizer.json goes into the file,
and Puna reads that. Knows nothing of weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from puna import tokenizer as tokenizers
from puna.conversion.pre_tokenizer import find_pre_tokenizer
from puna.conversion.probes import TEXTS
from puna.errors import InvalidTokenizer
from puna.gguf import Value
from puna.gguf.huggingface.special_tokens import EOS_TOKEN_IDS
from puna.tokenizer import Tokenizer
from puna.tokenizer.huggingface import (
    ADDED_SCORE,
    EMBEDDED,
    PADDING_SCORE,
    load_folder,
    padding,
    sentencepiece_metadata,
)
from puna.tokenizer.metadata import NO_ID
from puna.tokenizer.pieces import BLANK, byte_token_byte
from puna.tokenizer.special import TokenType

KEY = "tokenizer.ggml."
_LISTS = ("tokens", "token_type", "scores")
_ADDED_PROBES = 256  # added tokens that are tried between other texts
_PIECE_PROBES = 512  # pieces of the vocabulary that are tried

Keys = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Source:
    """GGUF's keys as a `puna.tokenizer.load` takes them."""

    metadata: Mapping[str, Any]
    folder: Path | None = None


def vocabulary_metadata(
    folder: Path, known: Mapping[str, Value], rows: int
) -> tuple[dict[str, Value], tuple[str, ...]]:
    """All keys of the tokenizer for a model whose token table has so many rows, and what to warn of.

    known: what `open_folder` has found.

    Raises InvalidTokenizer: there is no tokenizer, it is malformed, or GGUF cannot hold it.
    """
    tokenizer = load_folder(folder)
    layout = _layout(folder)
    keys = _from_sentencepiece(folder) if layout is None else _from_layout(folder, tokenizer, layout)
    warnings = _fit(keys, rows)
    for name, kind in (("token_type", np.int32), ("scores", np.float32)):
        if KEY + name in keys:
            keys[KEY + name] = np.array(keys[KEY + name], kind)
    if KEY + "precompiled_charsmap" in keys:
        keys[KEY + "precompiled_charsmap"] = np.frombuffer(keys[KEY + "precompiled_charsmap"], np.uint8)
    others = {key: value for key, value in known.items() if not is_vocabulary(key)}
    keys |= _special_tokens(tokenizer, keys[KEY + "model"], known, rows)
    difference = _difference(tokenizer, others | keys, rows)
    if difference and layout is not None:
        keys[EMBEDDED] = (folder / "tokenizer.json").read_bytes().decode()
        warnings.append(
            f"tokenizer.json is kept whole in the file, for Puna to read: GGUF's own keys do not say all of it "
            f"({difference}); other programs may cut some texts differently"
        )
        difference = _difference(tokenizer, others | keys, rows)
    if difference:
        raise InvalidTokenizer(f"{folder}: the tokenizer cannot be told in a GGUF: {difference}")
    return keys, tuple(warnings)


def is_vocabulary(key: str) -> bool:
    """Whether a key is one of those that `vocabulary_metadata` gives."""
    return key.startswith(KEY) or key == EOS_TOKEN_IDS


def _from_sentencepiece(folder: Path) -> Keys:
    return {KEY + "pre": "default", **sentencepiece_metadata(folder)}


# --- from tokenizer.json


def _layout(folder: Path) -> Mapping[str, Any] | None:
    """tokenizer.json, which `load_folder` has found to be well-formed."""
    path = folder / "tokenizer.json"
    return json.loads(path.read_bytes()) if path.is_file() else None


def _from_layout(folder: Path, tokenizer: Tokenizer, layout: Mapping[str, Any]) -> Keys:
    kind = layout["model"].get("type", "BPE")
    if kind not in _MODELS:
        raise InvalidTokenizer(f"{folder}: tokenizer.json is of the type {kind!r}; known are {', '.join(_MODELS)}")
    return {
        KEY + "tokens": [tokenizer.token_text(token) for token in range(tokenizer.vocab_size)],
        KEY + "token_type": _token_types(tokenizer, layout),
        **_MODELS[kind](folder, tokenizer, layout),
    }


def _token_types(tokenizer: Tokenizer, layout: Mapping[str, Any]) -> list[int]:
    model = layout["model"]
    added = {token["id"] for token in layout.get("added_tokens") or ()}
    has_bytes = bool(model.get("byte_fallback"))
    types = []
    for token in range(tokenizer.vocab_size):
        text = tokenizer.token_text(token)
        kind = TokenType.NORMAL
        if token in added:
            kind = TokenType.CONTROL if token in tokenizer.special_ids else TokenType.USER_DEFINED
        elif text == padding(token):
            kind = TokenType.UNUSED
        elif has_bytes and byte_token_byte(text) is not None:
            kind = TokenType.BYTE
        types.append(int(kind))
    return types


def _bpe(folder: Path, tokenizer: Tokenizer, layout: Mapping[str, Any]) -> Keys:
    if layout["model"].get("byte_fallback"):
        return _sentencepiece_bpe(folder, tokenizer, layout)
    keys: Keys = {KEY + "model": "gpt2", KEY + "merges": [" ".join(merge) for merge in _merges(layout)]}
    if layout.get("pre_tokenizer") and (pre := find_pre_tokenizer(layout)):
        keys[KEY + "pre"] = pre
    return keys


def _merges(layout: Mapping[str, Any]) -> list[tuple[str, str]]:
    """In the two forms in which they have been written: "a b" and ["a", "b"]."""
    merges = layout["model"].get("merges") or []
    halves = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in merges]
    return [(left, right) for left, right in halves]


def _sentencepiece_bpe(folder: Path, tokenizer: Tokenizer, layout: Mapping[str, Any]) -> Keys:
    """A SentencePiece vocabulary that transformers has turned into merges: scores are what GGUF wants.

    tokenizer.model has them; without it the first merge that makes a token tells its rank, which is as good.
    """
    keys: Keys = {KEY + "model": "llama", KEY + "pre": "default", KEY + "add_space_prefix": _adds_blank(tokenizer)}
    unknown = layout["model"].get("unk_token")
    ids = {tokenizer.token_text(token): token for token in range(tokenizer.vocab_size)}
    if unknown in ids:
        keys[KEY + "unknown_token_id"] = ids[unknown]
    if (folder / "tokenizer.model").is_file():
        original = sentencepiece_metadata(folder)
        if original[KEY + "model"] == "llama" and original[KEY + "tokens"] == list(ids):
            return keys | {KEY + "scores": original[KEY + "scores"]}
    scores = [ADDED_SCORE * tokenizer.vocab_size] * tokenizer.vocab_size
    for rank, (left, right) in reversed(list(enumerate(_merges(layout)))):
        if left + right in ids:
            scores[ids[left + right]] = -float(rank)
    return keys | {KEY + "scores": scores}


def _adds_blank(tokenizer: Tokenizer) -> bool:
    """Whether a text begins with a blank that it did not have."""
    ids = tokenizer.encode("a", add_special=False)
    return bool(ids) and tokenizer.token_text(ids[0]).startswith("\u2581")


def _unigram(_folder: Path, tokenizer: Tokenizer, layout: Mapping[str, Any]) -> Keys:
    scores = [PADDING_SCORE] * tokenizer.vocab_size
    for token, (_, score) in enumerate(layout["model"]["vocab"]):
        scores[token] = float(score)
    keys: Keys = {KEY + "model": "t5", KEY + "scores": scores, KEY + "add_space_prefix": _adds_blank(tokenizer)}
    return keys | {KEY + "unknown_token_id": layout["model"].get("unk_id")}


def _wordpiece(_folder: Path, tokenizer: Tokenizer, layout: Mapping[str, Any]) -> Keys:
    """GGUF marks the tokens that begin a word, BERT those that continue one; control tokens are neither."""
    texts = [tokenizer.token_text(token) for token in range(tokenizer.vocab_size)]
    types = _token_types(tokenizer, layout)
    tokens = [
        text if kind != TokenType.NORMAL else text[2:] if text.startswith("##") and len(text) > 2 else BLANK + text
        for text, kind in zip(texts, types, strict=True)
    ]
    keys: Keys = {KEY + "model": "bert", KEY + "tokens": tokens}
    normalizer = layout.get("normalizer") or {}
    for name in ("lowercase", "strip_accents"):
        if isinstance(normalizer.get(name), bool):
            keys[f"{KEY}normalizer.{name}"] = normalizer[name]
    unknown = layout["model"].get("unk_token")
    return keys | ({KEY + "unknown_token_id": texts.index(unknown)} if unknown in texts else {})


_MODELS: dict[str, Callable[[Path, Tokenizer, Mapping[str, Any]], Keys]] = {
    "BPE": _bpe,
    "Unigram": _unigram,
    "WordPiece": _wordpiece,
}


# --- what goes for every vocabulary


def _fit(keys: Keys, rows: int) -> list[str]:
    """Makes the lists as long as the model's table; what is cut off is told."""
    beyond = keys[KEY + "tokens"][rows:]
    for name in _LISTS:
        if KEY + name in keys:
            del keys[KEY + name][rows:]
    added = range(len(keys[KEY + "tokens"]), rows)
    keys[KEY + "tokens"] += [padding(token) for token in added]
    keys[KEY + "token_type"] += [int(TokenType.UNUSED)] * len(added)
    if KEY + "scores" in keys:
        keys[KEY + "scores"] += [PADDING_SCORE] * len(added)
    if not beyond:
        return []
    shown = ", ".join(repr(text) for text in beyond[:3])
    return [f"{len(beyond)} tokens ({shown}) are left out: the model's table of tokens has only {rows} rows"]


def _special_tokens(tokenizer: Tokenizer, model: str, known: Mapping[str, Value], rows: int) -> Keys:
    """BOS and EOS as the folder's tokenizer has them, the others as its JSON files say, where the model has them."""
    keys: Keys = {}
    roles = (("bos", tokenizer.bos_id, tokenizer.prefix), ("eos", tokenizer.eos_id, tokenizer.suffix))
    for role, token, _ in roles:
        if token is not None and token < rows:
            keys[f"{KEY}{role}_token_id"] = token
        elif model == "llama":  # whose readers would take 1 and 2 for them
            keys[f"{KEY}{role}_token_id"] = NO_ID
    told = all(around in ((), (token,)) for _, token, around in roles)  # else tokenizer.json itself has to say it
    for role, _, around in roles:
        added = bool(around) if told else known.get(f"{KEY}add_{role}_token")
        if added is not None:
            keys[f"{KEY}add_{role}_token"] = added
    for key, value in known.items():
        if key == KEY + "token_type_count":
            keys[key] = value
        is_id = key.startswith(KEY) and key.endswith("_token_id") and isinstance(value, int) and value < rows
        if is_id and key not in (f"{KEY}bos_token_id", f"{KEY}eos_token_id"):
            keys[key] = value
    ends = known.get(EOS_TOKEN_IDS)
    if isinstance(ends, np.ndarray):
        keys[EOS_TOKEN_IDS] = ends[ends < rows]
    return keys


# --- reading back


def _difference(folder: Tokenizer, keys: Mapping[str, Any], rows: int) -> str | None:
    """How a tokenizer made of the keys differs from the folder's: None, or what to tell."""
    try:
        ours = tokenizers.load(_Source(keys))
    except InvalidTokenizer as error:
        return str(error)
    count = min(rows, folder.vocab_size)
    for what, a, b in (
        ("the beginning of a text", ours.prefix, folder.prefix),
        ("the end of a text", ours.suffix, folder.suffix),
        ("BOS", ours.bos_id, folder.bos_id),
        ("EOS", ours.eos_id, folder.eos_id),
        ("the special tokens", ours.special_ids, {token for token in folder.special_ids if token < rows}),
        ("the tokens that end an answer", ours.eog_ids, {token for token in folder.eog_ids if token < rows}),
    ):
        if a != b:
            return what
    for token in range(count):
        if ours.token_bytes(token) != folder.token_bytes(token):
            return f"the text of token {token}"
    for text in _probes(folder, count):
        for parse in (False, True):
            ids = folder.encode(text, parse_special=parse)
            if all(token < rows for token in ids) and ours.encode(text, parse_special=parse) != ids:
                return f"the tokens of {text[:40]!r}"
            if ours.decode(ids[:8]) != folder.decode(ids[:8]):
                return "the blank before a text"
    return None


def _probes(tokenizer: Tokenizer, count: int) -> list[str]:
    """Fixed texts, pieces of the vocabulary next to each other, and special tokens among words and blanks."""
    pieces = [tokenizer.token_bytes(token) for token in range(0, count, max(1, count // _PIECE_PROBES))]
    words = [piece.decode("utf-8", "replace") for piece in pieces]
    marks = [tokenizer.token_text(token) for token in sorted(tokenizer.special_ids) if token < count][:_ADDED_PROBES]
    return [
        *TEXTS,
        "".join(words),
        " ".join(words),
        *(f"a {mark} b{mark}\n {mark}{mark}c" for mark in marks),
    ]
