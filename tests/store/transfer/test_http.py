"""Proxies and certificates by the usual variables, for small requests and for the bytes of blobs."""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from puna.errors import InvalidRequest, TransferError
from puna.store.blobs import Blobs
from puna.store.progress import ignore
from puna.store.transfer import http
from puna.store.transfer.download import download
from puna.store.transfer.retrying import Patience, retry_after
from puna.store.transfer.source import Source
from tests.store.registry_server import Exchange, RegistryServer

DATA = os.urandom(1_500_000)
PATIENCE = Patience(attempts=2, first=0.01)


@pytest.fixture(autouse=True)
def _nothing_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of 127.0.0.1, by nobody but itself; with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now.replace(year=2100))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return path


def fetch(folder: Path, url: str, registry: RegistryServer) -> None:
    digest = registry.add_blob(DATA)
    place = f"{url}/v2/library/x/blobs/sha256:{digest}"
    path = download(digest, len(DATA), [Source(place)], Blobs(folder), ignore, threading.Event(), patience=PATIENCE)
    assert path.read_bytes() == DATA


def test_a_proxy_is_used_with_its_login_and_hosts_that_need_none_are_spared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RegistryServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{proxy.host}")
        fetch(tmp_path / "a", "http://models.invalid", proxy)
        assert proxy.log[0].path.startswith("http://models.invalid/v2/")
        assert proxy.log[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"
        with http.client() as client:
            assert client.get("http://models.invalid/small").status_code == 200
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with RegistryServer() as registry:
            fetch(tmp_path / "b", registry.url, registry)
            assert registry.log[0].path.startswith("/v2/")


def test_a_certificate_of_one_s_own_is_trusted_once_it_is_named(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with RegistryServer(context) as registry:
        url = f"https://{registry.host}"
        with pytest.raises(TransferError, match=r"is not trusted.*SSL_CERT_FILE"):
            fetch(tmp_path / "a", url, registry)
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            with monkeypatch.context() as patch:
                patch.setenv(name, str(certificate))
                fetch(tmp_path / name, url, registry)
                with http.client() as client:
                    assert client.get(f"{url}/small").status_code == 200


def test_what_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with pytest.raises(InvalidRequest, match=r"cannot read certificates from .*none\.pem"):
        http.client()
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("HTTPS_PROXY", "gopher://x")
    with pytest.raises(InvalidRequest, match="HTTPS_PROXY"):
        http.client()


@pytest.mark.parametrize(
    ("told", "least", "most"),
    [("7", 7, 7), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0), ("soon", None, None), ("", None, None), ("-5", None, None)],
)
def test_retry_after_is_seconds_or_a_date(told: str, least: float | None, most: float | None) -> None:
    waits: list[float | None] = []

    def answer(exchange: Exchange) -> bool:
        return exchange.send(503, Retry_After=told)

    with RegistryServer() as registry, http.client() as client:
        registry.faults.append(answer)
        waits.append(retry_after(client.get(registry.url)))
    assert waits == [least] == [most]
