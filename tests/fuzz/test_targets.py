"""Every reader of strangers' files: on well-formed inputs, and on such as were changed a little."""

from __future__ import annotations

import time
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, run

MAX_SECONDS = 2.0  # of processor time
PIECES = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b"{{", b"}}", b"{%", b"%}", b"null", b"-1", b"1e999", b"\xff" * 8, b"\0" * 8,
    b"\n", b"..", b"/", b"\x80",
)  # fmt: skip
EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 20), st.integers(0, 8), st.sampled_from(PIECES) | st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)


@cache
def seeds(name: str) -> list[bytes]:
    return TARGETS[name].seeds()


@pytest.mark.parametrize("name", TARGETS)
def test_an_input_to_start_from_is_refused(name: str) -> None:
    """Then nothing behind the first check would ever be fuzzed."""
    for seed in seeds(name):
        TARGETS[name].read(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_a_changed_input_ends_in_anything_but_an_answer_or_a_refusal(name: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(st.sampled_from(range(len(seeds(name)))), EDITS)
    def holds(which: int, edits: list[tuple[int, int, bytes]]) -> None:
        data = bytearray(seeds(name)[which])
        for place, length, piece in edits:
            at = place % (len(data) + 1)
            data[at : at + length] = piece
        began = time.process_time()
        run(TARGETS[name], bytes(data))
        assert time.process_time() - began < MAX_SECONDS

    holds()
