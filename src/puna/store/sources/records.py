"""Which blob was made of what: so that what was joined or imported once need not be fetched to be made again.

One small file a record, in the store's own folder; one that is damaged or lost costs time, nothing else.
"""

from __future__ import annotations

import re

from puna.store import files
from puna.store.blobs import Blobs

_DIGEST = re.compile(r"[0-9a-f]{64}")


def find(blobs: Blobs, key: str) -> str | None:
    """The digest of what was made under that key (64 hex digits), if it is in the store."""
    try:
        digest = (blobs.own / "made" / key).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
    return digest if _DIGEST.fullmatch(digest) and blobs.has(digest) else None


def remember(blobs: Blobs, key: str, digest: str) -> None:
    """Keep what was made. Raises StoreError."""
    with files.storing(f"write into {blobs.own}"):
        files.write(blobs.own / "made" / key, digest.encode(), temporary=blobs.temporary)
