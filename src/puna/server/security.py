"""Who may call the server: whoever has a key; on loopback, only programs and pages of this machine.

Any web page a user visits can send requests to 127.0.0.1. Its Origin gives it away; where its host name was
made to point at 127.0.0.1 (DNS rebinding), its Host does. Knows nothing of the routes behind it, but that some are
open to all.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from puna.errors import PunaError
from puna.server.errors import dialect, refusal, response
from puna.server.keyring import KeyRing

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})
_APP_SCHEMES = frozenset({"app", "file", "tauri", "vscode-webview", "vscode-file"})
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")

PUBLIC = ("/", "/health")  # a heartbeat needs no key
PAGE = "/web/"  # nor do the files of the chat page, which asks for one

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# fmt: off
_HEADERS = ", ".join([
    "Authorization", "Content-Type", "User-Agent", "Accept", "X-Requested-With", "OpenAI-Beta",
    "OpenAI-Organization", "OpenAI-Project", "Idempotency-Key", "x-stainless-arch", "x-stainless-async",
    "x-stainless-custom-poll-interval", "x-stainless-helper-method", "x-stainless-lang", "x-stainless-os",
    "x-stainless-package-version", "x-stainless-poll-helper", "x-stainless-read-timeout",
    "x-stainless-retry-count", "x-stainless-runtime", "x-stainless-runtime-version", "x-stainless-timeout",
    "x-api-key", "anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access",
    "Last-Event-ID", "X-Puna-Priority", "X-Puna-Strict",
])
# fmt: on
_EXPOSED = "x-puna-context, x-puna-warnings, Retry-After, request-id, Idempotent-Replayed"
_HEADER_LIST = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~, -]*")


class Guard:
    """ASGI middleware: Host and Origin checks, CORS with its preflight, keys and the routes they open.

    What it lets pass has the `Key` in the request's state.

    Args:
        keys: those that open every route but the public ones.
        loopback: the server listens on loopback only, so that a foreign Host is an attack.
        origins: web origins allowed besides local ones: `https://example.org`, with `*` for any part, or `*`.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyRing, loopback: bool, origins: Sequence[str]) -> None:
        self._app = app
        self._keys = keys
        self._loopback = loopback
        self._origins = [re.compile(re.escape(origin).replace(r"\*", ".*")) for origin in origins]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._foreign(scope, headers) or await self._locked(scope, headers)
        origin = headers.get("origin")
        if origin is not None and self._origin_allowed(origin, headers.get("host", "")):
            send = _with_cors(send, origin)
        await (answer or self._app)(scope, receive, send)

    def _foreign(self, scope: Scope, headers: Headers) -> Response | None:
        """The reply to a request from elsewhere, or to a preflight; None lets it pass."""
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._loopback and not host_allowed(host):
            return Response(status_code=403)
        if origin is not None and not self._origin_allowed(origin, host):
            return refusal(dialect(scope), 403, f"origin {origin} is not allowed; PUNA_ORIGINS adds to those that are")
        if scope["method"] == "OPTIONS":
            return _preflight(headers)
        return None

    async def _locked(self, scope: Scope, headers: Headers) -> Response | None:
        """The reply to a request without a key that opens its route; None lets it pass."""
        path = scope["path"]
        if path in PUBLIC or path.startswith(PAGE):
            return None
        try:
            key = await self._keys.find(_tokens(headers))
        except PunaError as error:
            return response(dialect(scope), error)
        if key is None:
            message = "this server needs a key: send the header 'Authorization: Bearer <key>'"
            if "authorization" in headers or "x-api-key" in headers:
                message = "the API key is not one this server knows"
            return refusal(dialect(scope), 401, message, {"WWW-Authenticate": "Bearer"})
        if not key.may_call(path):
            return refusal(dialect(scope), 403, f"the key {key.name!r} may not call {path}")
        scope.setdefault("state", {})["key"] = key
        return None

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


def _tokens(headers: Headers) -> Iterator[str]:
    """What a request shows as its key: as OpenAI's clients do, and as Anthropic's do."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()
    if "x-api-key" in headers:
        yield headers["x-api-key"].strip()


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
            "Access-Control-Allow-Private-Network": "true",
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
