"""Where a registry sends us: read as the hostile text it may be."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import TransferError
from puna.store.transfer.destination import Registry, refusal, words_of
from puna.store.transfer.retrying import Unavailable

URL = "https://registry.example:8443/v2/you/model/blobs/uploads/"


REGISTRY = Registry("https://registry.example:8443", httpx.Client())


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("/v2/x?_state=a%2Fb%3D", "https://registry.example:8443/v2/x?_state=a%2Fb%3D"),
        ("abc", f"{URL}abc"),
        ("https://storage.example/x?sig=1", "https://storage.example/x?sig=1"),
        ("http://registry.example/v2/x", "https://registry.example:8443/v2/x"),  # it sits behind a proxy that has TLS
        ("//other.example/x", "https://other.example/x"),
    ],
)
def test_a_location_is_followed_as_browsers_would_and_tls_is_kept(location: str, found: str) -> None:
    assert REGISTRY.find(URL, location) == found


@pytest.mark.parametrize(
    "location", ["http://storage.example/x", "file:///etc/passwd", "ftp://x/y", "https://[", "data:x"]
)
def test_a_location_without_tls_or_host_is_refused(location: str) -> None:
    with pytest.raises(TransferError, match=r"which is not https|no address"):
        REGISTRY.find(URL, location)


@given(st.text(max_size=60))
def test_any_location_leads_to_an_https_address_or_to_an_error_of_ours(location: str) -> None:
    try:
        found = REGISTRY.find(URL, location)
    except TransferError:
        return
    assert urlsplit(found).scheme == "https"
    assert urlsplit(found).hostname


@given(st.binary(max_size=300))
def test_whatever_an_error_says_is_told_in_one_short_line(body: bytes) -> None:
    words = words_of(httpx.Response(400, content=body))
    assert len(words) <= 200
    assert "\n" not in words


def test_a_registry_s_own_words_are_told_with_their_code() -> None:
    answer = httpx.Response(400, json={"errors": [{"code": "DIGEST_INVALID", "message": "not what was\nsent"}]})
    assert words_of(answer) == "DIGEST_INVALID: not what was sent"
    assert "DIGEST_INVALID" in str(refusal(answer, "registry.example"))
    assert isinstance(refusal(httpx.Response(502), "registry.example"), Unavailable)
