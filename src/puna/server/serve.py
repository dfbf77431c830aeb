"""Binds an address and runs the application on it until it is interrupted."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from puna import paths
from puna.errors import InvalidRequest, PunaError
from puna.runtime import Runtime
from puna.runtime.settings import integer
from puna.server.accounts import Accounts
from puna.server.app import create_app
from puna.server.live import Service
from puna.store import Store

SHUTDOWN_SECONDS = 3  # that answers in progress have to end


def serve(
    host: str | None = None,
    port: int | None = None,
    *,
    api_key: str | None = None,
    no_auth: bool = False,
    strict: bool = False,
    runtime: Runtime | None = None,
    origins: Sequence[str] | None = None,
    log_level: str = "info",
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM; then unload all models.

    Args:
        host: where to listen (PUNA_HOST, else 127.0.0.1).
        port: the same (PUNA_HOST, else 11434); 0 takes a free one.
        api_key: a key that may do everything (PUNA_API_KEY, else none), beside those of `puna keys`.
        no_auth: ask nobody for a key, whoever reaches the server.
        strict: refuse every request of which something would be ignored.
        runtime: what runs the models; by default one is made, and closed at the end; where other machines
            reach it, it opens models by name only.
        origins: web origins allowed besides local ones (PUNA_ORIGINS).
        on_ready: called with the server's URL once it listens.

    Raises:
        InvalidRequest: the address is reachable from other machines and there is no key; a key, and `no_auth`.
        PunaError: the address cannot be bound.
    """
    address = paths.address()
    host, port = host or address.host, address.port if port is None else port
    key = api_key or paths.API_KEY.get()
    loopback = is_loopback(host)
    if no_auth and key is not None:
        raise InvalidRequest("--no-auth asks nobody for a key, so there must be neither --api-key nor PUNA_API_KEY")
    with Accounts(paths.accounts_file()) as accounts, contextlib.ExitStack() as stack:
        if not loopback and not no_auth and key is None and not accounts.keys.active():
            raise InvalidRequest(
                f"refusing to listen on {host} without a key: whoever reaches this machine could use it. "
                "Make one with `puna keys create NAME`, set PUNA_API_KEY (or --api-key), listen on 127.0.0.1, "
                "or say --no-auth"
            )
        listener = stack.enter_context(_bind(host, port))
        own = runtime or stack.enter_context(Runtime(Store(allow_paths=loopback)))
        app = create_app(
            own,
            accounts,
            api_key=key,
            keys_required=False if no_auth else None if loopback else True,
            strict=strict,
            loopback=loopback,
            origins=_origins(origins),
            max_queue=integer(paths.MAX_QUEUE),
        )
        config = uvicorn.Config(
            app,
            log_level=log_level,
            server_header=False,
            ws="none",
            proxy_headers=False,  # whoever calls could say that he is somebody else
            timeout_graceful_shutdown=2 * SHUTDOWN_SECONDS,
        )
        if on_ready is not None:
            on_ready(_url(listener))
        with _ended_by_signal():
            _Server(config, app.state.service).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Gives open answers SHUTDOWN_SECONDS to end, then ends them with an error that their clients can read."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS, self._service.abort)
        await super().shutdown(sockets)


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """uvicorn ends in order on Ctrl-C and SIGTERM, then raises them again: that is how a server ends."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        yield


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise PunaError(f"cannot listen on {host}: {error}") from error
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
        # Connections inherit it. asyncio does not see to it for a socket it was given, and with Nagle's algorithm a
        # small piece waits for the client's acknowledgement of the one before, which it delays by 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        hint = "; is another server running there already?" if "in use" in str(error) else ""
        raise PunaError(f"cannot listen on {host} port {port}: {error}{hint}") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _origins(origins: Sequence[str] | None) -> list[str]:
    given = origins if origins is not None else (paths.ORIGINS.get() or "").split(",")
    return [origin.strip() for origin in given if origin.strip()]
