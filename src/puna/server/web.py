"""The chat page: the files of `puna/web`, which are a client of the public API like any other.

`/` is the page for browsers, `/web/...` are its scripts, styles and pictures. Its policy lets no script but these run,
and lets nothing be sent to or fetched from another host. Knows nothing of what the page does.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from types import MappingProxyType

from fastapi import APIRouter, Request
from starlette.responses import Response

from puna.server.errors import NotFoundError

# Not from `mimetypes`: what that says depends on the machine, and a module with a wrong type does not run.
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webmanifest": "application/manifest+json",
}
INDEX = "index.html"
THEME = "theme.js"  # runs before the page is painted, and is no module
_MODULES = re.compile(rb"<!-- modules.*?-->")  # in the page: where the scripts are named that it is made of
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # text can become markup nowhere: innerHTML raises
        "trusted-types 'none'",
    ]
)
HEADERS = {
    "Cache-Control": "no-cache",  # ask each time whether it has changed: an upgrade is seen at once
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    body: bytes
    zipped: bytes  # the same, compressed
    media_type: str
    etag: str


def routes() -> APIRouter:
    """The routes of the files; `/` is Ollama's, too (`ollama_models`)."""
    router = APIRouter()

    @router.api_route("/web/{name:path}", methods=["GET", "HEAD"], include_in_schema=False)
    async def asset(request: Request, name: str) -> Response:
        """A file of the chat page."""
        found = assets().get(name)
        if found is None:
            raise NotFoundError(f"the chat page has no file {name!r}")
        return _response(request, found)

    return router


def wants_page(request: Request) -> bool:
    """Whether who asks for `/` is a browser: programs do not name HTML."""
    return "text/html" in request.headers.get("accept", "").lower()


def page_response(request: Request) -> Response:
    """The page."""
    return _response(request, assets()[INDEX])


@cache
def assets() -> Mapping[str, Asset]:
    """Every file by its path below `puna/web`: they are few and small, and are read once."""
    bodies = dict(_walk(files("puna") / "web", ""))
    scripts = [name for name in sorted(bodies) if name.endswith(".js") and name != THEME]
    modules = [f'<link rel="modulepreload" href="/web/{name}">' for name in scripts]
    bodies[INDEX] = _MODULES.sub("".join(modules).encode(), bodies[INDEX])
    return MappingProxyType({name: _asset(name, body) for name, body in bodies.items()})


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif _ending(entry.name) in TYPES:  # what an editor leaves there is not served
            yield prefix + entry.name, entry.read_bytes()


def _asset(name: str, body: bytes) -> Asset:
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return Asset(body, gzip.compress(body, mtime=0), TYPES[_ending(name)], etag)


def _ending(name: str) -> str:
    return name.rpartition(".")[2]


def _response(request: Request, asset: Asset) -> Response:
    headers = {**HEADERS, "Vary": "Accept, Accept-Encoding", "ETag": f"W/{asset.etag}"}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(asset.zipped, headers=headers, media_type=asset.media_type)
    return Response(asset.body, headers=headers, media_type=asset.media_type)
