"""Compressed request bodies: unpacked, bounded, and refused where they are damaged or of an unknown kind."""

from __future__ import annotations

import gzip
import json
import sys
import time
import zlib
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidRequest
from puna.server.compression import decompressed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
BODY = json.dumps({"model": "cria", "input": "hi", "max_output_tokens": 2}).encode()


def respond(http: httpx.Client, body: bytes, encoding: str) -> httpx.Response:
    return http.post("/v1/responses", content=body, headers={"Content-Encoding": encoding})


@pytest.mark.parametrize("name", COMPRESS)
def test_a_compressed_body_is_read(http: httpx.Client, name: str) -> None:
    assert respond(http, COMPRESS[name](BODY), name).status_code == 200
    assert respond(http, COMPRESS[name](gzip.compress(BODY)), f"gzip, {name.upper()}").status_code == 200


@pytest.mark.parametrize("name", COMPRESS)
def test_what_unpacks_to_more_than_a_body_may_have_is_refused_at_once(http: httpx.Client, name: str) -> None:
    bomb = COMPRESS[name](bytes(80 << 20))
    started = time.process_time()
    with pytest.raises(InvalidRequest, match="larger than 64 MiB"):
        decompressed(bomb, name, 64 << 20)
    assert time.process_time() - started < 2
    assert respond(http, bomb, name).status_code == 413


@pytest.mark.parametrize("name", COMPRESS)
def test_a_damaged_body_is_refused(http: httpx.Client, name: str) -> None:
    for damaged in (COMPRESS[name](BODY)[:-2], b"{}", COMPRESS[name](BODY) + b"more"):
        reply = respond(http, damaged, name)
        assert reply.status_code == 400
        assert name in reply.json()["error"]["message"]


def test_an_encoding_that_is_not_known_is_named(http: httpx.Client) -> None:
    reply = respond(http, BODY, "br")
    assert reply.status_code == 415
    assert "'br'" in reply.json()["error"]["message"]
    assert respond(http, BODY, "identity").status_code == 200


@given(st.lists(st.binary(max_size=50)), st.sampled_from(sorted(COMPRESS)), st.integers(0, 200))
def test_frames_one_after_another_are_one_body_up_to_the_limit(parts: list[bytes], name: str, limit: int) -> None:
    packed, whole = b"".join(map(COMPRESS[name], parts)), b"".join(parts)
    if len(whole) <= limit:
        assert decompressed(packed, name, limit) == whole
    else:
        with pytest.raises(InvalidRequest):
            decompressed(packed, name, limit)
