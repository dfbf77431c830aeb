"""JSON as both dialects' clients need it: ASCII only, on one line.

A raw U+2028, U+0085 and the like would be a line break to clients that split streams with `str.splitlines`.
"""

from __future__ import annotations

import json


def json_text(value: object) -> str:
    """Compact JSON. NaN and infinities, which JSON does not have, are an error."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def json_bytes(value: object) -> bytes:
    """The same, encoded."""
    return json_text(value).encode("ascii")
