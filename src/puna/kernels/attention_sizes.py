"""How attention divides its work, and the scratch memory that takes. Knows no kernel; imports no compiler."""

from __future__ import annotations

BLOCK = 32  # positions in a KV block
CHUNK = 256  # positions that are one sum, counted from position 0
TILE = 64  # query rows that share a chunk's keys and values
SUBTILE = 16  # of them those whose scores are held at once
HEADER = 128  # bytes of a record before its outputs: the row's maximum and, in 16 lanes, its sum


def record_bytes(value: int) -> int:
    """Bytes of a row's result over some positions: maximum, sum, `value` float32."""
    return HEADER + 4 * value


def tile_rows(group: int) -> int:
    """Rows of a tile: whole tokens of `group` query heads each, at least one token."""
    return max(1, TILE // group) * group


def scratch_bytes(group: int, key: int, value: int, context: int) -> int:
    """Bytes for each thread: q, records of a tile, of a subtile and of the chunks of a tile, scores, a chunk's KV."""
    rows, record = tile_rows(group), record_bytes(value)
    chunks = -(-context // CHUNK)
    kept = rows * 4 * key + (rows * (1 + chunks) + SUBTILE) * record
    return kept + SUBTILE * CHUNK * 4 + CHUNK // BLOCK * 8 + CHUNK * (key + value) * 4
