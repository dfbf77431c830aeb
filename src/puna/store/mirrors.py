"""PUNA_MIRRORS: where else the files of a host can be had. Knows nothing of what is fetched.

    PUNA_MIRRORS="registry.ollama.ai=https://mirror.example,http://nas:5000;hf.co=https://hf-mirror.com"

A mirror is asked before the host itself, in the order given, and gets no token that was meant for the host.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from puna import paths
from puna.errors import InvalidRequest

_SAME = {"huggingface.co": "hf.co", "www.modelscope.cn": "modelscope.cn"}  # two names of one place


def mirrors_of(host: str) -> tuple[str, ...]:
    """URLs without a slash at their end, to be tried before `https://host`.

    Raises:
        InvalidRequest: PUNA_MIRRORS is not written as it must be.
    """
    return parse(paths.MIRRORS.get() or "").get(_canonical(host), ())


def parse(text: str) -> dict[str, tuple[str, ...]]:
    """`host=url,url;host=url` by host (lower case). Raises InvalidRequest."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in filter(None, re.split(r"[;\s]+", text)):
        host, equals, urls = entry.partition("=")
        mirrors = tuple(url.rstrip("/") for url in urls.split(",") if url)
        if not (host and equals and mirrors) or not all(map(_is_url, mirrors)):
            raise InvalidRequest(f"PUNA_MIRRORS: {entry!r} is not written host=https://mirror,https://another")
        found[_canonical(host)] = found.get(_canonical(host), ()) + mirrors
    return found


def _canonical(host: str) -> str:
    return _SAME.get(host.lower(), host.lower())


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
