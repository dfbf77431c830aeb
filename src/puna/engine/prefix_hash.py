"""Block keys: a name for a full KV block that stands for all the tokens up to its end.

key(block i) = BLAKE2b(key(block i-1), the block's token ids, its images), so that equal keys mean equal prefixes. 32
bytes, so that nobody can make two prefixes with one key. Knows nothing of models: the first parent is what the caller
says, for tokens alone do not make the values where a sequence has an adapter.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeAlias

import numpy as np

BlockKey: TypeAlias = bytes

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class ImageKey:
    """What stands in the places `start` to `end - 1`, whatever their token ids."""

    start: int
    end: int
    digest: bytes  # of what it is

    def within(self, first: int, end: int) -> bytes:
        """What it is, and which of it stands in the places `first` to `end - 1`; empty where none does."""
        return self.digest + struct.pack("<q", first - self.start) if self.start < end and self.end > first else b""


def extend(
    keys: list[BlockKey], token_ids: Sequence[int], block_size: int, num_blocks: int,
    images: Sequence[ImageKey] = (), *, root: BlockKey = b"",
) -> None:  # fmt: skip
    """Append keys until there are `num_blocks`, of which `token_ids` fills each. `root`: the first one's parent."""
    for i in range(len(keys), num_blocks):
        first, end = i * block_size, (i + 1) * block_size
        tokens = np.asarray(token_ids[first:end], "<i4")
        assert len(tokens) == block_size, f"block {i} is not full"
        content = tokens.tobytes() + b"".join(image.within(first, end) for image in images)
        keys.append(blake2b(content, digest_size=KEY_BYTES, key=keys[-1] if keys else root).digest())
