"""The runtime's settings from environment variables, and the grammar of durations and sizes."""

from __future__ import annotations

import math
import re

from puna import paths
from puna.errors import InvalidRequest
from puna.models import KV_TYPES
from puna.runtime.types import FOREVER

DEFAULT_KEEP_ALIVE = 300.0  # seconds
LONGEST = 292 * 365 * 86400  # seconds; Go's longest duration, beyond which all is for ever
DEFAULT_MAX_LOADED = 3
DEFAULT_PARALLEL = 8
DEFAULT_KV_CACHE_TYPE = "f16"
DEFAULT_PREFIX_CACHE = 4 * 10**9  # bytes

# Go's time.ParseDuration.
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"(?P<number>[0-9]+(\.[0-9]+)?) *(?P<unit>b|[kmgt]i?b?|)")
_BYTES = {f"{prefix}{i}": (1024 if i else 1000) ** power for power, prefix in enumerate("kmgt", 1) for i in ("", "i")}
_PIECE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds of "5m", "1h30m", "-1s", "0"; negative ones mean FOREVER.

    Raises:
        InvalidRequest: no unit, or not a duration.
    """
    negative = text.startswith("-")
    rest = text[1:] if text[:1] in {"-", "+"} else text
    pieces = _PIECE.findall(rest)
    if rest != "0" and (not pieces or "".join(number + unit for number, unit in pieces) != rest):
        raise InvalidRequest(f'invalid duration {text!r}: write it with units, like "300s", "5m" or "1h30m"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in pieces)
    return FOREVER if (negative and seconds) or seconds > LONGEST else seconds


def keep_alive_seconds(value: object) -> float | None:
    """Ollama's keep_alive: a number of seconds or a duration. Negative is FOREVER; null: the default.

    Raises:
        InvalidRequest: neither.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return parse_duration(value)
    is_nan = isinstance(value, float) and math.isnan(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and not is_nan:
        return FOREVER if value < 0 or value > LONGEST else float(value)
    raise InvalidRequest(f'keep_alive must be a number of seconds or a duration such as "5m", not {value!r}')


def default_keep_alive() -> float:
    """PUNA_KEEP_ALIVE: a duration or a plain number of seconds."""
    text = paths.KEEP_ALIVE.get()
    if text is None:
        return DEFAULT_KEEP_ALIVE
    try:
        return keep_alive_seconds(_as_number(text)) or 0.0
    except InvalidRequest as error:
        raise InvalidRequest(f"{paths.KEEP_ALIVE.names[0]}: {error}") from error


def kv_cache_type() -> str:
    """PUNA_KV_CACHE_TYPE, else f16.

    Raises:
        InvalidRequest: not a type of KV cache that there is.
    """
    kind = (paths.KV_CACHE_TYPE.get() or DEFAULT_KV_CACHE_TYPE).lower()
    if kind not in KV_TYPES:
        raise InvalidRequest(f"{paths.KV_CACHE_TYPE.names[0]}={kind!r} is not one of {', '.join(KV_TYPES)}")
    return kind


def integer(variable: paths.Variable) -> int | None:
    """The variable as a whole number above 0; None when unset or 0.

    Raises:
        InvalidRequest: set to something else.
    """
    text = variable.get()
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise InvalidRequest(f"{variable.names[0]} must be a whole number, not {text!r}")
    return int(text) or None


def parse_size(text: str) -> int:
    """Bytes of "4GB", "512 MiB", "1.5G" or "0".

    Raises:
        InvalidRequest: not a size.
    """
    found = _SIZE.fullmatch(text.strip().lower())
    if found is None or (not found["unit"] and float(found["number"])):
        raise InvalidRequest(f'invalid size {text!r}: write it with a unit, like "4GB", "512MiB" or "0"')
    return int(float(found["number"]) * _BYTES.get(found["unit"].removesuffix("b"), 1))


def prefix_cache_bytes() -> int:
    """PUNA_PREFIX_CACHE: the disk space that the prefix cache may take; 0 keeps none."""
    text = paths.PREFIX_CACHE.get()
    if text is None:
        return DEFAULT_PREFIX_CACHE
    try:
        return parse_size(text)
    except InvalidRequest as error:
        raise InvalidRequest(f"{paths.PREFIX_CACHE.names[0]}: {error}") from None


def _as_number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text
