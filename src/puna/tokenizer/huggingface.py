"""A Hugging Face folder's tokenizer: `tokenizer.json`, or `tokenizer.model` where there is none.

Knows the files' layouts: tokenizer_config.json names the special tokens, generation_config.json and
config.json the ids that end an answer. tokenizer.json is used as it stands, with the model's own
normalisation (where a GGUF of the same model, like llama.cpp, has none: Qwen 2's NFC).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from puna.errors import InvalidTokenizer
from puna.tokenizer import metadata as meta
from puna.tokenizer.building import build
from puna.tokenizer.pieces import byte_level_bytes, byte_token_byte, sentencepiece_bytes, wordpiece_bytes
from puna.tokenizer.refusals import refusals
from puna.tokenizer.sentencepiece import metadata_of
from puna.tokenizer.special import TokenType, end_of_generation, is_control
from puna.tokenizer.tokenizer import Tokenizer
from puna.tokenizer.vocabulary import read_vocabulary

MAX_BYTES = 256 << 20  # of a tokenizer file; the largest in use have some 35 MB
EMBEDDED = "tokenizer.huggingface.json"  # gguf.md: a whole tokenizer.json
TOKENS = "tokenizer.ggml.tokens"
MAX_PADDING = 1024  # tokens without a text, and three times as many as there are with one
ADDED_SCORE, PADDING_SCORE = -1000.0, -10000.0  # llama.cpp's


def load_folder(folder: Path) -> Tokenizer:
    """The folder's tokenizer. Raises `InvalidTokenizer`."""
    config = _read_json(folder / "tokenizer_config.json")
    ends = [*_end_ids(folder, "generation_config.json"), *_end_ids(folder, "config.json")]
    if (folder / "tokenizer.json").is_file():
        return _from_tokenizer_json(_read(folder / "tokenizer.json"), config, ends, _model_size(folder))
    if (folder / "tokenizer.model").is_file():
        return build(read_vocabulary(sentencepiece_metadata(folder)), ends=ends)
    raise InvalidTokenizer(f"{folder} has neither tokenizer.json nor tokenizer.model")


def load_embedded(metadata: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer of a GGUF that has the folder's tokenizer.json in it (gguf.md: `tokenizer.huggingface.json`).

    The special tokens are those of its other keys. None where the two do not speak of the same vocabulary. Raises
    `InvalidTokenizer`.
    """
    tokens = meta.strings(metadata, TOKENS) or []
    config: dict[str, Any] = {}
    for role in ("bos", "eos"):
        token = meta.token_id(metadata, f"tokenizer.ggml.{role}_token_id", len(tokens))
        if token is not None:
            config[f"{role}_token"] = tokens[token]
        added = meta.flag(metadata, f"tokenizer.ggml.add_{role}_token")
        if added is not None:
            config[f"add_{role}_token"] = added
    ends = meta.token_ids(metadata, "puna.eos_token_ids", len(tokens))
    source = meta.string(metadata, EMBEDDED) or ""
    if len(source) > MAX_BYTES:
        raise InvalidTokenizer(f"{EMBEDDED} has {len(source)} characters; at most {MAX_BYTES} are read")
    found = _from_tokenizer_json(source.encode("utf-8", "replace"), config, ends, len(tokens))
    texts = [found.token_text(token) for token in range(found.vocab_size)]
    return found if texts == tokens else None


# --- tokenizer.json


def _from_tokenizer_json(source: bytes, config: Mapping[str, Any], ends: Sequence[int], size: int) -> Tokenizer:
    """`size`: how many tokens the model has at least; those without a text get one that no text holds."""
    with refusals("tokenizer.json"):
        text = source.decode()
        layout = json.loads(text)
        parsing = Backend.from_str(text)
        parsing.no_truncation()
        parsing.no_padding()
        added = parsing.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special or is_control(token.content)}
        plain = _without_special(parsing, added, special)
    if not isinstance(layout, dict):
        raise InvalidTokenizer("tokenizer.json is not an object")
    texts = _texts(parsing, size)
    ids = {text: i for i, text in enumerate(texts)}
    bos, eos = (_named(config, role, ids) for role in ("bos_token", "eos_token"))
    if bos is None:
        bos = _named(config, "cls_token", ids)
    prefix, suffix = _around(parsing, config, bos, eos)
    return Tokenizer(
        bos_id=bos,
        eos_id=eos,
        eog_ids=end_of_generation(ids, [eos, *(i for i in ends if i < len(texts))]),
        special_ids=frozenset(special),
        prefix=prefix,
        suffix=suffix,
        warnings=(),
        _plain=plain,
        _parsing=parsing,
        _texts=texts,
        _pieces=_pieces(texts, layout, added),
        _strips_blank=_strips_blank(layout),
        separator=_between(parsing, suffix),
    )


def _without_special(parsing: Backend, added: Mapping[int, AddedToken], special: set[int]) -> Backend:
    """The same tokenizer with special tokens read as any text. The two share the model, not the setting."""
    plain = Backend(parsing.model)
    if parsing.normalizer is not None:
        plain.normalizer = parsing.normalizer
    if parsing.pre_tokenizer is not None:
        plain.pre_tokenizer = parsing.pre_tokenizer
    for i in special:
        added[i].special = True
    plain.add_tokens([added[i] for i in sorted(added)])  # all of them: ids beyond the model's are given in order
    plain.encode_special_tokens = True
    moved = [token.content for i, token in added.items() if plain.token_to_id(token.content) != i]
    if moved:
        raise InvalidTokenizer(f"added tokens' ids are not in order: {moved[:3]}")
    return plain


def _texts(backend: Backend, size: int) -> list[str]:
    vocabulary = backend.get_vocab(with_added_tokens=True)
    size = max(size, max(vocabulary.values(), default=-1) + 1)
    if size > 4 * len(vocabulary) + MAX_PADDING:
        raise InvalidTokenizer(f"tokenizer.json: {len(vocabulary)} tokens with ids up to {size - 1}")
    texts = [padding(i) for i in range(size)]
    for text, i in vocabulary.items():
        texts[i] = text
    return texts


def _pieces(texts: Sequence[str], layout: Mapping[str, Any], added: Mapping[int, AddedToken]) -> list[bytes]:
    steps = list(_steps(layout.get("decoder"))) + list(_steps(layout.get("pre_tokenizer")))
    kinds = {step.get("type") for step in steps}
    model = layout.get("model")
    model = model if isinstance(model, dict) else {}
    if "ByteLevel" in kinds:
        written = byte_level_bytes
    elif model.get("type") == "WordPiece" or "WordPiece" in kinds:
        written = wordpiece_bytes
    else:
        written = sentencepiece_bytes
    fallback = "ByteFallback" in kinds or bool(model.get("byte_fallback"))
    pieces = []
    for i, text in enumerate(texts):
        byte = byte_token_byte(text) if fallback else None
        pieces.append(text.encode() if i in added else byte if byte is not None else written(text))
    return pieces


def _strips_blank(layout: Mapping[str, Any]) -> bool:
    """Whether decoding takes the first blank away: the decoder's last word on what the normaliser put there."""
    for step in _steps(layout.get("decoder")):
        kind = step.get("type")
        if kind == "WordPiece" or (kind == "Strip" and step.get("content") == " " and step.get("start")):
            return True
        if kind == "Metaspace":
            never = step.get("prepend_scheme") == "never" or step.get("add_prefix_space") is False
            return not never
    return False


def _steps(component: object) -> Iterator[Mapping[str, Any]]:
    """A component of tokenizer.json, or those of its sequence."""
    if isinstance(component, dict):
        yield component
        for key in ("decoders", "pretokenizers"):
            for step in component.get(key) or ():
                yield from _steps(step)


def _around(
    backend: Backend, config: Mapping[str, Any], bos: int | None, eos: int | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids put before and after every text: tokenizer_config.json's word, or else the post-processor's."""
    if backend.post_processor is None or "add_bos_token" in config or "add_eos_token" in config:
        prefix = (bos,) if config.get("add_bos_token") is True and bos is not None else ()
        suffix = (eos,) if config.get("add_eos_token") is True and eos is not None else ()
        return prefix, suffix
    encoding = backend.encode("a", add_special_tokens=True)
    is_text = [not mask for mask in encoding.special_tokens_mask]
    if True not in is_text:
        return tuple(encoding.ids), ()
    first, last = is_text.index(True), len(is_text) - is_text[::-1].index(True)
    return tuple(encoding.ids[:first]), tuple(encoding.ids[last:])


def _between(backend: Backend, suffix: tuple[int, ...]) -> tuple[int, ...]:
    """The ids that the post-processor puts between two texts, less those that end the first in any case."""
    if backend.post_processor is None:
        return ()
    encoding = backend.encode("a", "b", add_special_tokens=True)
    places = encoding.sequence_ids
    if 0 not in places or 1 not in places:
        return ()
    first_end = len(places) - places[::-1].index(0)
    between = tuple(encoding.ids[first_end : places.index(1)])
    return between[len(suffix) :] if between[: len(suffix)] == suffix else between


# --- tokenizer.model


def sentencepiece_metadata(folder: Path) -> dict[str, Any]:
    """`tokenizer.ggml.*` of a folder's tokenizer.model, with what its other files add. Raises `InvalidTokenizer`."""
    config = _read_json(folder / "tokenizer_config.json")
    metadata = metadata_of(_read(folder / "tokenizer.model"))
    _add_tokens(metadata, config)
    _pad(metadata, _model_size(folder))
    ids = {text: i for i, text in enumerate(metadata[TOKENS])}
    for role in ("bos", "eos"):
        named = _named(config, f"{role}_token", ids)
        if named is not None:
            metadata[f"tokenizer.ggml.{role}_token_id"] = named
        if isinstance(config.get(f"add_{role}_token"), bool):
            metadata[f"tokenizer.ggml.add_{role}_token"] = config[f"add_{role}_token"]
    return metadata


def _add_tokens(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """tokenizer_config.json's added tokens, into the lists of the metadata."""
    tokens, scores, types = (metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type"))
    added = config.get("added_tokens_decoder")
    for key, token in sorted((added if isinstance(added, dict) else {}).items(), key=lambda item: _number(item[0])):
        i, text, special = _number(key), str(token.get("content")), bool(token.get("special"))
        if i > len(tokens):
            raise InvalidTokenizer(f"tokenizer_config.json: added token {i} leaves a gap after {len(tokens)} tokens")
        if i == len(tokens):
            tokens.append(text)
            scores.append(ADDED_SCORE)
            types.append(int(TokenType.NORMAL))
        if types[i] != TokenType.UNKNOWN:
            types[i] = int(TokenType.CONTROL if special or is_control(text) else TokenType.USER_DEFINED)


def _pad(metadata: Mapping[str, Any], size: int) -> None:
    tokens, scores, types = (metadata[f"tokenizer.ggml.{name}"] for name in ("tokens", "scores", "token_type"))
    if size > 4 * len(tokens) + MAX_PADDING:
        raise InvalidTokenizer(f"config.json: vocab_size is {size}, and the vocabulary has {len(tokens)} tokens")
    for i in range(len(tokens), size):
        tokens.append(padding(i))
        scores.append(PADDING_SCORE)
        types.append(int(TokenType.UNUSED))


# --- the files


def _read(path: Path) -> bytes:
    if path.stat().st_size > MAX_BYTES:
        raise InvalidTokenizer(f"{path.name} has {path.stat().st_size} bytes; at most {MAX_BYTES} are read")
    return path.read_bytes()


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise InvalidTokenizer(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidTokenizer(f"{path.name} is not an object")
    return value


def _end_ids(folder: Path, name: str) -> list[int]:
    value = _read_json(folder / name).get("eos_token_id")
    values = value if isinstance(value, list) else [value]
    return [i for i in values if isinstance(i, int) and not isinstance(i, bool) and i >= 0]


def padding(token: int) -> str:
    """The text of a token that has none: rows of the model beyond its vocabulary (llama.cpp's name for them)."""
    return f"[PAD{token}]"


def _model_size(folder: Path) -> int:
    """The rows of the model's token embedding, as config.json has it; 0 where it says nothing sensible."""
    size = _read_json(folder / "config.json").get("vocab_size")
    return size if type(size) is int and size > 0 else 0


def _named(config: Mapping[str, Any], role: str, ids: Mapping[str, int]) -> int | None:
    """The id of a token that tokenizer_config.json names, as text or as an AddedToken's fields."""
    token = config.get(role)
    text = token.get("content") if isinstance(token, dict) else token
    return ids.get(text) if isinstance(text, str) else None


def _number(key: str) -> int:
    if not key.isdecimal():
        raise InvalidTokenizer(f"tokenizer_config.json: {key!r} is not a token id")
    return int(key)
