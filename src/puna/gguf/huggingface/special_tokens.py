"""Special tokens and chat template: from the tokenizer's JSON files to GGUF's keys.

The tokenizer itself stays in the folder: `puna.tokenizer` reads it there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from puna.errors import InvalidGGUF
from puna.gguf.huggingface.json_file import read_object, read_text
from puna.gguf.model_file import Value

# Every token that ends a generation; no key of GGUF's own holds a list.
EOS_TOKEN_IDS = "puna.eos_token_ids"
_MAX_TEMPLATES = 64
_ROLES = {"bos": "bos", "padding": "pad", "unknown": "unk", "cls": "cls", "seperator": "sep", "mask": "mask"}


def special_tokens(folder: Path, config: dict[str, Any]) -> dict[str, Value]:
    """tokenizer.ggml.X_token_id for eos, eot and each of _ROLES, add_bos_token, add_eos_token, where known."""
    tokenizer = read_object(folder / "special_tokens_map.json") | read_object(folder / "tokenizer_config.json")
    generation = read_object(folder / "generation_config.json")
    ids = _token_ids(folder, tokenizer)
    values: dict[str, Value] = {}
    for gguf, name in _ROLES.items():
        found = _first(ids.get(_content(tokenizer.get(f"{name}_token"))), *_ids(config, f"{name}_token_id"))
        if found is not None:
            values[f"tokenizer.ggml.{gguf}_token_id"] = found
    values |= _end_tokens(ids.get(_content(tokenizer.get("eos_token"))), generation, config)
    for key in ("add_bos_token", "add_eos_token"):
        if isinstance(tokenizer.get(key), bool):
            values[f"tokenizer.ggml.{key}"] = tokenizer[key]
    return values


def chat_templates(folder: Path) -> dict[str, Value]:
    """tokenizer.chat_template, and tokenizer.chat_template.NAME for others."""
    text = read_text(folder / "chat_template.jinja")
    source = folder / "chat_template.json" if (folder / "chat_template.json").is_file() else None
    found: Any = text
    if found is None:
        source = source or folder / "tokenizer_config.json"
        found = read_object(source).get("chat_template")
    if found is None:
        return {}
    if isinstance(found, str):
        return {"tokenizer.chat_template": found, **_further_templates(folder)}
    return _named_templates(found, str(source))


def _further_templates(folder: Path) -> dict[str, Value]:
    """Those beside chat_template.jinja, named by their files."""
    paths = sorted((folder / "additional_chat_templates").glob("*.jinja"))[:_MAX_TEMPLATES]
    texts = {path.stem: read_text(path) for path in paths}
    return {f"tokenizer.chat_template.{name}": text for name, text in texts.items() if text is not None}


def _named_templates(found: Any, source: str) -> dict[str, Value]:
    """A list of {name, template}, or an object from name to template."""
    if isinstance(found, dict):
        found = [{"name": name, "template": template} for name, template in found.items()]
    values: dict[str, Value] = {}
    for entry in found if isinstance(found, list) else [found]:
        name, template = (entry.get("name"), entry.get("template")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(template, str):
            raise InvalidGGUF(f"{source}: chat_template is neither a string nor a list of named strings")
        values["tokenizer.chat_template" + ("" if name == "default" else f".{name}")] = template
    return values


def _end_tokens(eos: int | None, generation: dict[str, Any], config: dict[str, Any]) -> dict[str, Value]:
    """The tokenizer's own end token first; another one the generation stops at is the end of turn."""
    stops = list(dict.fromkeys([*_ids(generation, "eos_token_id"), *_ids(config, "eos_token_id")]))
    ordered = stops if eos is None else [eos, *(stop for stop in stops if stop != eos)]
    if not ordered:
        return {}
    values: dict[str, Value] = {
        "tokenizer.ggml.eos_token_id": ordered[0],
        EOS_TOKEN_IDS: np.array(ordered, np.int32),
    }
    if len(ordered) > 1:
        values["tokenizer.ggml.eot_token_id"] = ordered[1]
    return values


def _token_ids(folder: Path, tokenizer: dict[str, Any]) -> dict[str | None, int]:
    """Ids of the added tokens by their text, from tokenizer_config.json or else tokenizer.json."""
    decoder = tokenizer.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        pairs = [(_content(token), key) for key, token in decoder.items()]
        return {text: int(key) for text, key in pairs if text is not None and key.isdecimal() and len(key) < 10}
    added = read_object(folder / "tokenizer.json").get("added_tokens")
    entries = [entry for entry in added if isinstance(entry, dict)] if isinstance(added, list) else []
    return {_content(entry): entry["id"] for entry in entries if _content(entry) and _is_id(entry.get("id"))}


def _content(token: Any) -> str | None:
    """A token is a string or an object with its content."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _ids(settings: dict[str, Any], key: str) -> list[int]:
    """An id or a list of ids."""
    value = settings.get(key)
    values = value if isinstance(value, list) else [value]
    return [item for item in values if _is_id(item)]


def _is_id(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 1 << 31


def _first(*candidates: int | None) -> int | None:
    return next((item for item in candidates if item is not None), None)
