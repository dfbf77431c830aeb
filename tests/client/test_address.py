"""The grammar of PUNA_HOST, which the client calls and the server binds."""

from __future__ import annotations

import pytest

from puna import paths
from puna.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("1.2.3.4", "http://1.2.3.4:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("[::]:9", "http://[::1]:9"),
        ("::1", "http://[::1]:11434"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com:1/ollama/", "https://example.com:1/ollama"),
        (" localhost ", "http://localhost:11434"),
    ],
)
def test_what_ollama_accepts_leads_to_the_same_place(text: str, url: str) -> None:
    assert paths.parse_address(text).url == url


@pytest.mark.parametrize("text", ["ftp://a", "a:b", "a:99999", "a:-1"])
def test_an_address_with_a_mistake_is_refused_not_replaced_by_the_default(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is not a server address"):
        paths.parse_address(text)


def test_a_server_that_binds_everything_still_knows_it() -> None:
    assert paths.parse_address("0.0.0.0").host == "0.0.0.0"


def test_ollama_s_variable_counts_where_ours_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "a:1")
    monkeypatch.delenv("PUNA_HOST", raising=False)
    assert paths.address().url == "http://a:1"
    monkeypatch.setenv("PUNA_HOST", "b:2")
    assert paths.address().url == "http://b:2"
