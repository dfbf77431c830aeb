"""Repositories of ModelScope, by the two public routes of its API: the list of files, and a file.

    GET /api/v1/models/<user>/<name>/repo/files?Revision=master&Recursive=true
    GET /api/v1/models/<user>/<name>/repo?Revision=master&FilePath=<path>

Fields, and the cookie that carries the token: https://github.com/modelscope/modelscope (hub/api.py, file_download.py).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from puna import paths
from puna.errors import InvalidRequest, ModelNotFound, TransferError
from puna.store import mirrors
from puna.store.sources.choosing import InRepository
from puna.store.sources.repository import MAX_FILES, RemoteFile, Repository, is_path
from puna.store.transfer.reading import Forbidden, Missing, read
from puna.store.transfer.retrying import Patience
from puna.store.transfer.source import Source

MODELSCOPE = "www.modelscope.cn"
BRANCH = "master"
MAX_ANSWER = 64 << 20  # bytes of a list of files

_SHA256 = re.compile(r"[0-9a-f]{64}")
_VALUE = re.compile(r"[!-:<-~]+")  # of a cookie


def endpoint() -> str:
    """Where ModelScope is, no slash at its end. Raises InvalidRequest for what is no address."""
    text = paths.MODELSCOPE_ENDPOINT.get() or MODELSCOPE
    url = text if "://" in text else f"https://{text}"
    if not url.startswith(("https://", "http://")):
        raise InvalidRequest(f"MODELSCOPE_ENDPOINT: {text!r} is no http:// or https:// address")
    return url.rstrip("/")


def redirected() -> bool:
    """Whether the user has named another place than modelscope.cn."""
    return endpoint() != f"https://{MODELSCOPE}" or bool(mirrors.mirrors_of(MODELSCOPE))


def listing(origin: InRepository, client: httpx.Client, cancelled: threading.Event) -> Repository:
    """The files of a repository.

    Raises:
        ModelNotFound: no such repository or revision, or it is private.
        TransferError: no place answers.
    """
    main, revision = endpoint(), origin.revision or BRANCH
    places = (*mirrors.mirrors_of(MODELSCOPE), main)
    title = f"{origin.repository}{f'@{origin.revision}' if origin.revision else ''}"
    query = urlencode({"Revision": revision, "Recursive": "true"})
    sources = [_source(place, main, origin, f"repo/files?{query}") for place in places]
    try:
        answer = _object(json.loads(read(sources, MAX_ANSWER, client, cancelled, Patience().at_first)))
        entries = _object(answer.get("Data")).get("Files")
    except (Missing, Forbidden):
        hint = "if it is private, let MODELSCOPE_API_TOKEN hold your token"
        raise ModelNotFound(f"{main} has no model {title} ({hint})") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise TransferError(f"{main} does not speak ModelScope's API: {error!r}") from error
    if not isinstance(entries, list):
        raise ModelNotFound(f"{main} has no model {title}: {str(answer.get('Message'))[:200]}")
    found = [_file(entry, origin, revision, places, main) for entry in entries[:MAX_FILES]]
    return Repository(f"{origin.name.host}/{origin.repository}", revision, tuple(filter(None, found)))


def _file(entry: object, origin: InRepository, revision: str, places: tuple[str, ...], main: str) -> RemoteFile | None:
    """None for a folder, and for what is no file of a known size."""
    if not isinstance(entry, dict) or entry.get("Type") == "tree":
        return None
    path, size, digest = entry.get("Path"), entry.get("Size"), entry.get("Sha256")
    if not is_path(path) or not isinstance(size, int) or isinstance(size, bool) or size < 0:
        return None
    query = urlencode({"Revision": revision, "FilePath": path}, quote_via=quote)
    return RemoteFile(
        str(path),
        size,
        digest if isinstance(digest, str) and _SHA256.fullmatch(digest) else None,
        tuple(_source(place, main, origin, f"repo?{query}") for place in places),
    )


def _source(place: str, main: str, origin: InRepository, rest: str) -> Source:
    """A token goes to ModelScope, not to its mirrors."""
    return Source(f"{place}/api/v1/models/{origin.repository}/{rest}", headers=_cookie if place == main else dict)


def _cookie() -> Mapping[str, str]:
    token = paths.MODELSCOPE_TOKEN.get()
    if token is None:
        return {}
    if not _VALUE.fullmatch(token):
        raise InvalidRequest("MODELSCOPE_API_TOKEN holds characters that no token has")
    return {"Cookie": f"m_session_id={token}"}


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"an object was expected, not {value!r:.60}")
    return value
