"""Where a name's registry is, and what its addresses are. Opens no connection."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from puna.errors import InvalidRequest
from puna.store import mirrors
from puna.store.names import ModelName

MANIFEST_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json;q=0.5"
)


def root_of(name: ModelName, *, insecure: bool = False) -> str:
    """`https://host`; `http://` where `insecure` says so, or where the host is this machine."""
    return f"{'http' if insecure or is_loopback(name.host) else 'https'}://{name.host}"


def roots_of(name: ModelName, *, insecure: bool = False) -> tuple[str, ...]:
    """Mirrors first, then the host itself."""
    return (*mirrors.mirrors_of(name.host), root_of(name, insecure=insecure))


def check_scheme(text: str, *, insecure: bool) -> None:
    """Raises InvalidRequest for a name that begins `http://`, unless `insecure` or to this machine."""
    if text.lower().startswith("http://") and not insecure and not is_loopback(text[7:].partition("/")[0]):
        raise InvalidRequest("insecure protocol http: use --insecure (in the API: insecure) to go without TLS")


def repository_of(name: ModelName) -> str:
    """`namespace/model`."""
    return f"{name.namespace}/{name.model}"


def manifest_url(root: str, name: ModelName) -> str:
    """Of the manifest that the tag stands for."""
    return f"{root}/v2/{repository_of(name)}/manifests/{name.tag}"


def blob_url(root: str, name: ModelName, digest: str) -> str:
    """Of a blob. digest: 64 hex digits."""
    return f"{root}/v2/{repository_of(name)}/blobs/sha256:{digest}"


def is_loopback(host: str) -> bool:
    """Whether a host (with a port or without) is this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:  # no host at all
        return False
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
