"""Typed access to config.json, with errors that name the file and the key."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, NoReturn, TypeVar

import numpy as np

from puna.errors import InvalidGGUF

MAX_INTEGER = 1 << 30

_Number = TypeVar("_Number", int, float)


class Settings:
    """A JSON object of settings; null counts as absent. `names`: what the file calls some of them."""

    def __init__(self, values: Mapping[str, Any], source: str, names: Mapping[str, str] | None = None) -> None:
        self.values = values
        self.source = source
        self._names = names or {}

    def called(self, names: Mapping[str, str]) -> Settings:
        """These settings where the file calls some by other names: `names` has ours, then the file's."""
        return Settings(self.values, self.source, names)

    def over(self, defaults: Mapping[str, Any]) -> Settings:
        """These settings, with defaults (under the file's names) for those that are absent."""
        present = {key: value for key, value in self.values.items() if value is not None}
        return Settings({**defaults, **present}, self.source, self._names)

    def under(self, values: Mapping[str, Any]) -> Settings:
        """These settings but for the values given."""
        return Settings({**self.values, **values}, self.source, self._names)

    def fail(self, key: str, reason: str) -> NoReturn:
        """Raise InvalidGGUF."""
        raise InvalidGGUF(f"{self.source}: {self.name(key)}: {reason}")

    def name(self, key: str) -> str:
        """What the file calls a setting."""
        return self._names.get(key, key)

    def get(self, key: str) -> Any:
        """The value as it stands; None when absent."""
        return self.values.get(self.name(key))

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number in [1, 2^30]; required unless there is a default."""
        value = self.values.get(self.name(key))
        if value is None:
            return self._default(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_INTEGER:
            self.fail(key, f"{value!r:.40} is not a whole number from 1 to {MAX_INTEGER}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A positive, finite number; required unless there is a default."""
        value = self.values.get(self.name(key))
        if value is None:
            return self._default(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(key, f"{value!r:.40} is not a number")
        if not (isfinite(value) and 0 < value < 1e30):
            self.fail(key, f"{value!r:.40} is not a positive number")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        value = self.values.get(self.name(key))
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(key, f"{value!r:.40} is not true or false")
        return value

    def text(self, key: str) -> str | None:
        """A string; None when absent."""
        value = self.values.get(self.name(key))
        if value is not None and not isinstance(value, str):
            self.fail(key, f"{value!r:.40} is not a string")
        return value

    def section(self, key: str) -> Settings:
        """A nested object; empty when absent."""
        value = self.values.get(self.name(key))
        if value is not None and not isinstance(value, dict):
            self.fail(key, f"{value!r:.40} is not an object")
        return Settings(value or {}, f"{self.source}: {key}")

    def _default(self, key: str, default: _Number | None) -> _Number:
        if default is None:
            self.fail(key, "missing")
        return default


def single(value: float) -> float:
    """A number as GGUF stores it, in float32."""
    return float(np.float32(value))
