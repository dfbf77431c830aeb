"""Who may call the server: whoever has the key; on loopback, only programs and pages of this machine.

Any web page a user visits can send requests to 127.0.0.1. Its Origin gives it away; where its host name was
made to point at 127.0.0.1 (DNS rebinding), its Host does. Knows nothing of the routes behind it.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from puna.server.errors import refusal

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})
_APP_SCHEMES = frozenset({"app", "file", "tauri", "vscode-webview", "vscode-file"})
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# fmt: off
_HEADERS = ", ".join([
    "Authorization", "Content-Type", "User-Agent", "Accept", "X-Requested-With", "OpenAI-Beta",
    "OpenAI-Organization", "OpenAI-Project", "Idempotency-Key", "x-stainless-arch", "x-stainless-async",
    "x-stainless-custom-poll-interval", "x-stainless-helper-method", "x-stainless-lang", "x-stainless-os",
    "x-stainless-package-version", "x-stainless-poll-helper", "x-stainless-read-timeout",
    "x-stainless-retry-count", "x-stainless-runtime", "x-stainless-runtime-version", "x-stainless-timeout",
])
# fmt: on
_EXPOSED = "x-puna-context, x-puna-warnings"
_HEADER_LIST = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]*")


class Guard:
    """ASGI middleware: Host and Origin checks, CORS with its preflight, the Bearer key.

    Args:
        api_key: asked for on every route but `/`; None: no key.
        loopback: the server listens on loopback only, so that a foreign Host is an attack.
        origins: web origins allowed besides local ones: `https://example.org`, with `*` for any part, or `*`.
    """

    def __init__(self, app: ASGIApp, *, api_key: str | None, loopback: bool, origins: Sequence[str]) -> None:
        self._app = app
        self._api_key = None if api_key is None else api_key.encode()
        self._loopback = loopback
        self._origins = [re.compile(re.escape(origin).replace(r"\*", ".*")) for origin in origins]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._answer(scope, headers)
        origin = headers.get("origin")
        if origin is not None and self._origin_allowed(origin, headers.get("host", "")):
            send = _with_cors(send, origin)
        await (answer or self._app)(scope, receive, send)

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """The reply to a request that goes no further; None lets it pass."""
        path = scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._loopback and not host_allowed(host):
            return Response(status_code=403)
        if origin is not None and not self._origin_allowed(origin, host):
            return refusal(path, 403, f"origin {origin} is not allowed; PUNA_ORIGINS adds to those that are")
        if scope["method"] == "OPTIONS":
            return _preflight(headers)
        if self._api_key is not None and path != "/" and not self._authorized(headers):
            message = "this server needs a key: send the header 'Authorization: Bearer <key>'"
            if "authorization" in headers:
                message = "the API key is not the one this server asks for"
            return refusal(path, 401, message, {"WWW-Authenticate": "Bearer"})
        return None

    def _authorized(self, headers: Headers) -> bool:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        assert self._api_key is not None
        # In constant time: how long it takes must not tell how much of a guess was right.
        same = hmac.compare_digest(key.strip().encode("latin-1", "replace"), self._api_key)
        return same and scheme.lower() == "bearer"

    def _origin_allowed(self, origin: str, host: str) -> bool:
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme in _APP_SCHEMES:
            return True
        name = parts.hostname
        if parts.scheme in ("http", "https") and (name in _LOCAL_HOSTS or parts.netloc.lower() == host.lower()):
            return True
        return any(pattern.fullmatch(origin) for pattern in self._origins)


def host_allowed(host: str) -> bool:
    """Whether a Host header may reach a server on loopback: it means this machine or its own network."""
    if not host:
        return True
    try:
        name = urlsplit("//" + host).hostname or ""
    except ValueError:
        return False
    if name in ("localhost", socket.gethostname().lower()) or name.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def _preflight(headers: Headers) -> Response:
    asked = headers.get("access-control-request-headers", "")
    allowed = f"{_HEADERS}, {asked}" if asked and _HEADER_LIST.fullmatch(asked) else _HEADERS
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": allowed,
            "Access-Control-Max-Age": "43200",
        },
    )


def _with_cors(send: Send, origin: str) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = _EXPOSED
            headers.add_vary_header("Origin")
        await send(message)

    return sender
