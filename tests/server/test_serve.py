"""How the server listens."""

from __future__ import annotations

import time

import httpx


def test_no_reply_waits_for_the_acknowledgement_of_its_head(http: httpx.Client) -> None:
    """With Nagle's algorithm it does, and clients delay that by 40 ms."""

    def seconds() -> float:
        started = time.monotonic()
        http.get("/api/version")
        return time.monotonic() - started

    assert sorted(seconds() for _ in range(21))[5] < 0.035
