"""How Puna speaks HTTP to other machines: proxies and certificates by the usual variables, its name, its timeouts.

Knows nothing of what is fetched. HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY are read by httpx itself.
"""

from __future__ import annotations

import platform
import ssl
import sys
from importlib.metadata import version

import certifi
import httpx

from puna import paths
from puna.errors import InvalidRequest
from puna.store.transfer.bulk import BulkTransport

CONNECT_SECONDS = 15.0
STALL_SECONDS = 30.0  # without a byte; Ollama's
MAX_REDIRECTS = 10

TRUST_HINT = (
    "if this network has a certificate authority of its own, let SSL_CERT_FILE name the file of its certificate"
)


def client(*, stall: float = STALL_SECONDS) -> httpx.Client:
    """A client for any number of threads; it follows no redirect unless told.

    stall: seconds without a byte, after which an answer is given up.

    Raises:
        InvalidRequest: a proxy or a certificate file in the environment cannot be used.
    """
    try:
        return httpx.Client(
            verify=ssl_context(),
            headers={"User-Agent": user_agent()},
            timeout=httpx.Timeout(stall, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            max_redirects=MAX_REDIRECTS,
        )
    except (ValueError, ImportError, httpx.InvalidURL) as error:  # ImportError: a SOCKS proxy without its package
        raise InvalidRequest(f"the proxy that HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names is no use: {error}") from error


def bulk_client(*, stall: float = STALL_SECONDS, connections: int) -> httpx.Client:
    """A client for large bodies (GET only), as `client` otherwise."""
    return httpx.Client(
        transport=BulkTransport(ssl_context(), connections),
        headers={"User-Agent": user_agent()},
        timeout=httpx.Timeout(stall, connect=CONNECT_SECONDS),
        max_redirects=MAX_REDIRECTS,
    )


def ssl_context() -> ssl.SSLContext:
    """Trusts SSL_CERT_FILE's certificates, else those of the system (and certifi's where it has none).

    Raises:
        InvalidRequest: the file cannot be read as certificates.
    """
    file = paths.CERTIFICATES.get()
    try:
        context = ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidRequest(f"cannot read certificates from {file}, which SSL_CERT_FILE names: {error}") from error
    if file is None:
        context.load_verify_locations(certifi.where())
    return context


def user_agent() -> str:
    """`puna/0.1.0 (x86_64 linux)`."""
    return f"puna/{version('puna')} ({platform.machine().lower()} {sys.platform})"
