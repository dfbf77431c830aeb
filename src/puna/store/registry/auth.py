"""Who we are to a registry: tokens, fetched when it asks for one, and kept.

Ollama's registry is told by a signature of `~/.ollama/id_ed25519`, other registries by the name and password that
`docker login` saved; where there is neither, we stay anonymous. A signature goes to the registry's own host only.

The challenge is that of Docker's registries (https://distribution.github.io/distribution/spec/auth/token/).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import threading
import time
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import httpx

from puna import paths
from puna.errors import TransferError
from puna.store.transfer.retrying import failure_of, refusal_of

MAX_TOKEN = 1 << 16  # bytes of an answer that holds one

_FIELD = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')


class RegistryAuth(httpx.Auth):
    """Answers a registry's 401, once for each request. For any number of threads.

    Args:
        client: fetches the tokens.
        root: the registry's address; nothing is sent to others.
    """

    def __init__(self, client: httpx.Client, root: str) -> None:
        self._client = client
        self._root = root
        self._header: str | None = None
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As httpx calls it. Raises TransferError, Unavailable where no token is to be had."""
        if not _same_host(str(request.url), self._root):
            yield request
            return
        used = self._header
        if used is not None:
            request.headers["Authorization"] = used
        response = yield request
        if response.status_code != 401 or not _same_host(str(response.url), self._root):
            return
        with self._lock:
            if self._header == used:  # nobody else was faster
                self._header = self._answer(response.headers.get("WWW-Authenticate", ""))
        if self._header is not None:
            request.headers["Authorization"] = self._header
            yield request

    def _answer(self, challenge: str) -> str | None:
        """The Authorization header that the challenge asks for; None where we have nothing to say."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic":
            return _login(self._root)
        if scheme.lower() != "bearer":
            return None
        fields = {name.lower(): quoted or plain for name, quoted, plain in _FIELD.findall(rest)}
        return f"Bearer {self._token(fields)}"

    def _token(self, fields: dict[str, str]) -> str:
        realm = urlsplit(fields.get("realm", ""))
        if realm.scheme not in ("http", "https") or (self._root.startswith("https:") and realm.scheme == "http"):
            raise TransferError(
                f"{self._root} asks for a token of {fields.get('realm', '')[:200]!r}, which is no https address"
            )
        query = [("service", fields["service"])] if "service" in fields else []
        query += [("scope", scope) for scope in fields.get("scope", "").split()]
        query += [("ts", str(int(time.time()))), ("nonce", _base64url(secrets.token_bytes(16)))]
        url = realm._replace(query="&".join(filter(None, (realm.query, urlencode(query)))), fragment="").geturl()
        header = self._credentials(url)
        try:
            with self._client.stream("GET", url, headers={"Authorization": header} if header else {}) as response:
                data = b""
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > MAX_TOKEN:
                        raise TransferError(f"{realm.netloc} sends no token but something larger")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise failure_of(error, realm.netloc) from error
        if response.status_code != 200:
            raise refusal_of(response, f"{realm.netloc}, which gives the tokens,", _error_in(data))
        return _token_in(data, realm.netloc)

    def _credentials(self, url: str) -> str | None:
        """What we show to whoever gives the tokens."""
        login = _login(self._root)
        if login is not None:
            return login
        return signature("GET", url) if _same_host(url, self._root) else None


def signature(method: str, url: str) -> str | None:
    """Ollama's header: the public key, and a signature of what is asked for; None where there is no key.

    Raises:
        TransferError: the key cannot be used.
    """
    path = key_path()
    if not path.is_file():
        return None
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

    try:
        key = load_ssh_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise TransferError(f"cannot use the key in {path}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise TransferError(f"cannot use the key in {path}: it is not of the kind ed25519")
    nothing = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
    signed = base64.b64encode(key.sign(f"{method},{url},{nothing}".encode())).decode()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1].decode()
    return f"{public}:{signed}"


def key_path() -> Path:
    """Ollama's key: where it has put it."""
    return Path.home() / ".ollama" / "id_ed25519"


def _login(root: str) -> str | None:
    """What `docker login` saved for a host, as a Basic header."""
    host = urlsplit(root).netloc
    folder = Path(paths.DOCKER_CONFIG.get() or Path.home() / ".docker").expanduser()
    try:
        saved = json.loads((folder / "config.json").read_bytes())["auths"]
        entry = next(saved[name] for name in (host, f"https://{host}", f"http://{host}") if name in saved)
        pair = base64.b64decode(entry["auth"], validate=True)
    except (OSError, ValueError, KeyError, TypeError, StopIteration, RecursionError, binascii.Error):
        return None
    return f"Basic {base64.b64encode(pair).decode()}" if b":" in pair else None


def _token_in(data: bytes, where: str) -> str:
    try:
        document = json.loads(data)
        token = document.get("token") or document.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        token = None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise TransferError(f"{where} answers without a token")
    return token


def _error_in(data: bytes) -> str:
    return " ".join(data[:200].decode("utf-8", errors="replace").split())


def _same_host(url: str, root: str) -> bool:
    return urlsplit(url)[:2] == urlsplit(root)[:2]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
