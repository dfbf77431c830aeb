"""The checksums of a download's journal."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from puna.store.transfer.journal import checksum


def naive(data: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(f"<{-(-len(data) // 8)}Q", data.ljust(-(-len(data) // 8) * 8, b"\0"))
    return sum(words) % 2**64


@given(st.binary(max_size=200))
def test_the_checksum_is_the_sum_of_words(data: bytes) -> None:
    assert checksum(memoryview(data)) == naive(data)


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_sums_of_parts_cut_anywhere_add_up_to_the_block_s(parts: list[bytes]) -> None:
    total = at = 0
    for part in parts:
        total += checksum(memoryview(part), at)
        at += len(part)
    assert total % 2**64 == naive(b"".join(parts))


@given(st.binary(min_size=1, max_size=64), st.integers(0, 63), st.integers(0, 255))
def test_another_byte_anywhere_is_another_sum(data: bytes, at: int, value: int) -> None:
    changed = bytearray(data)
    changed[at % len(data)] = value
    assert (checksum(memoryview(changed)) == checksum(memoryview(data))) == (bytes(changed) == data)
