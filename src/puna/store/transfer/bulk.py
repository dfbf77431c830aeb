"""httpx over urllib3, for large bodies: urllib3 reads them in pieces of 512 KB, with a third of the work of httpcore.

What is sent along, redirects and rights stay httpx's. Proxies are those of the usual variables. GET only.
"""

from __future__ import annotations

import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import httpx
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from puna.errors import InvalidRequest

CHUNK = 1 << 19  # bytes that are handed on at once, at most
INTERRUPT = "puna.interrupt"  # of a response's extensions: ends its body, from any thread


class BulkTransport(httpx.BaseTransport):
    """A transport of httpx. For any number of threads.

    Args:
        context: which certificates are trusted.
        connections: kept open to one host at most.
    """

    def __init__(self, context: ssl.SSLContext, connections: int) -> None:
        self._context = context
        self._connections = connections
        self._proxies = urllib.request.getproxies()
        self._managers: dict[str | None, urllib3.PoolManager] = {}  # by proxy
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """As httpx calls it."""
        timeout = request.extensions.get("timeout", {})
        try:
            response = self._manager(request.url).request(
                request.method,
                str(request.url),
                headers=dict(request.headers),
                timeout=urllib3.Timeout(connect=timeout.get("connect"), read=timeout.get("read")),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError, ValueError) as error:
            raise _translated(error, request) from error
        return httpx.Response(
            response.status,
            headers=list(response.headers.items()),
            stream=_Body(response, request),
            extensions={INTERRUPT: lambda: _interrupt(response)},
        )

    def close(self) -> None:
        """Close what is open."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()

    def _manager(self, url: httpx.URL) -> urllib3.PoolManager:
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        if proxy and urllib.request.proxy_bypass(f"{url.host}:{url.port}" if url.port else url.host):
            proxy = None
        with self._lock:
            if proxy not in self._managers:
                self._managers[proxy] = self._made(proxy)
            return self._managers[proxy]

    def _made(self, proxy: str | None) -> urllib3.PoolManager:
        count, context = self._connections, self._context
        if proxy is None:
            return urllib3.PoolManager(maxsize=count, ssl_context=context)
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme.startswith("socks"):
            try:
                from urllib3.contrib.socks import SOCKSProxyManager
            except ImportError as error:
                raise InvalidRequest(f"the proxy {parts.hostname} needs the package PySocks: {error}") from error
            return SOCKSProxyManager(parts.geturl(), maxsize=count, ssl_context=context)
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return urllib3.ProxyManager(
            bare, proxy_headers=headers, proxy_ssl_context=context, maxsize=count, ssl_context=context
        )


class _Body(httpx.SyncByteStream):
    """A response's bytes."""

    def __init__(self, response: urllib3.BaseHTTPResponse, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        try:
            while piece := self._response.read1(CHUNK):
                yield piece
        except (HTTPError, OSError, ValueError) as error:
            raise _translated(error, self._request) from error

    def close(self) -> None:
        """A connection whose body was read to its end is used again."""
        self._response.close()


def _interrupt(response: urllib3.BaseHTTPResponse) -> None:
    with suppress(RuntimeError, ValueError, OSError):  # it has ended by itself
        response.shutdown()


def _translated(error: Exception, request: httpx.Request) -> httpx.RequestError:
    """What httpx would have raised."""
    kinds: tuple[tuple[type[Exception], type[httpx.RequestError]], ...] = (
        (ReadTimeoutError, httpx.ReadTimeout),
        (ConnectTimeoutError, httpx.ConnectTimeout),
        (ProxyError, httpx.ProxyError),
        (NewConnectionError, httpx.ConnectError),
        (SSLError, httpx.ConnectError),
        (ProtocolError, httpx.RemoteProtocolError),
        (LocationValueError, httpx.UnsupportedProtocol),
    )
    kind = next((ours for theirs, ours in kinds if isinstance(error, theirs)), httpx.ReadError)
    words = error.args[0] if isinstance(error, ProtocolError) and error.args else error
    if isinstance(error, NewConnectionError):  # the system's own words
        words = error.__cause__ or error
    return kind(str(words), request=request)
