"""Reads JSON files and texts that were downloaded: bounded in size, errors with the file's name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from puna.errors import InvalidGGUF

MAX_BYTES = 1 << 26  # the largest tokenizer.json known has 33 MB


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; {} if there is no such file."""
    if not path.is_file():
        return {}
    return parse_object(read_bytes(path), str(path))


def read_text(path: Path) -> str | None:
    """A UTF-8 text; None if there is no such file."""
    if not path.is_file():
        return None
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidGGUF(f"{path}: not UTF-8 ({error.reason})") from None


def read_bytes(path: Path) -> bytes:
    """A file of at most MAX_BYTES."""
    try:
        with path.open("rb") as file:
            raw = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)  # Python takes as much memory as asked
    except OSError as error:
        raise InvalidGGUF(f"{path}: cannot be read: {error}") from None
    if len(raw) > MAX_BYTES:
        raise InvalidGGUF(f"{path}: larger than {MAX_BYTES} bytes, the most we read")
    return raw


def parse_object(raw: bytes, source: str) -> dict[str, Any]:
    """A JSON object in which no key is there twice."""
    try:
        value = json.loads(raw, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise InvalidGGUF(f"{source}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidGGUF(f"{source}: holds no JSON object")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} is there twice")
    return result
