"""Typed access to metadata: every number is checked when it is read, and an error names its key.

Knows no key by name but those that must stay small.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import NoReturn

import numpy as np

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf.model_file import Value

_LARGEST = {"block_count": 1 << 14, "attention.head_count": 1 << 14, "attention.head_count_kv": 1 << 14}
_MAX_INT = 1 << 30


class Keys:
    """The metadata whose keys begin with one architecture's name. InvalidGGUF names the key of a wrong value."""

    def __init__(self, source: str, architecture: str, metadata: Mapping[str, Value]) -> None:
        self.source, self.architecture = source, architecture
        self._prefix = f"{architecture}."
        self._metadata = metadata

    def fail(self, key: str, reason: str) -> NoReturn:
        """Raise InvalidGGUF for a key."""
        raise InvalidGGUF(f"{self.source}: {self._prefix}{key}: {reason}")

    def get(self, key: str) -> Value | None:
        """A value as it stands; None when absent."""
        return self._metadata.get(self._prefix + key)

    def integer(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """A whole number in [least, what is sensible for the key]; an array of them if all are equal."""
        value = self.get(key)
        if isinstance(value, np.ndarray):
            value = self._same_for_all_layers(key, value.tolist())
        if value is None:
            if default is None:
                self.fail(key, "missing")
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(key, f"{shown(value)} is not a whole number")
        most = _LARGEST.get(key, _MAX_INT)
        if not least <= value <= most:
            self.fail(key, f"{value} is not between {least} and {most}")
        return value

    def number(self, key: str, default: float | None = None, *, below: float = float("inf")) -> float:
        """A finite number in (0, below)."""
        value = self.get(key)
        if value is None:
            if default is None:
                self.fail(key, "missing")
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(key, f"{shown(value)} is not a number")
        if not (isfinite(value) and 0 < value < below):
            self.fail(key, f"{value} is not a positive number" + (f" below {below:g}" if isfinite(below) else ""))
        return float(value)

    def optional_number(self, key: str) -> float | None:
        """A finite number above 0; None when absent or 0."""
        value = self.get(key)
        absent = value is None or (isinstance(value, int | float) and value == 0)
        return None if absent else self.number(key)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            self.fail(key, f"{shown(value)} is neither true nor false")
        return default if value is None else value

    def text(self, key: str) -> str | None:
        """A string; None when absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, str):
            self.fail(key, f"{shown(value)} is not a string")
        return value

    def _same_for_all_layers(self, key: str, values: list[int | float | bool]) -> int | float | bool:
        if not values:
            self.fail(key, "an empty array")
        if any(value != values[0] for value in values):
            raise UnsupportedModel(
                f"{self.source}: {self._prefix}{key} differs from layer to layer ({sorted(set(values))}); "
                "models whose layers are not alike cannot be run yet"
            )
        return values[0]


def shown(value: Value) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
