"""Block keys: a name for a full KV block that stands for all the tokens up to its end.

key(block i) = BLAKE2b(key(block i-1), the block's token ids), so that equal keys mean equal prefixes. 32 bytes,
so that nobody can make two prefixes with one key. Knows nothing of models: the first parent is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import TypeAlias

import numpy as np

BlockKey: TypeAlias = bytes

KEY_BYTES = 32


def extend(keys: list[BlockKey], token_ids: Sequence[int], block_size: int, num_blocks: int) -> None:
    """Append keys until there are `num_blocks`, of which `token_ids` fills each."""
    for i in range(len(keys), num_blocks):
        tokens = np.asarray(token_ids[i * block_size : (i + 1) * block_size], "<i4")
        assert len(tokens) == block_size, f"block {i} is not full"
        keys.append(blake2b(tokens.tobytes(), digest_size=KEY_BYTES, key=keys[-1] if keys else b"").digest())
