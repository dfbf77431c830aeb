"""A GGUF file at a plain address. Its digest is what comes: nobody tells it before, TLS is all that vouches for it."""

from __future__ import annotations

import threading

from puna.store.create import create
from puna.store.create_request import CreateRequest
from puna.store.names import ModelName
from puna.store.progress import Progress, Report
from puna.store.sources.choosing import AtUrl
from puna.store.store import Store
from puna.store.transfer import http
from puna.store.transfer.download import download
from puna.store.transfer.retrying import Patience, retried
from puna.store.transfer.source import Source, probe


def fetch(
    store: Store, origin: AtUrl, report: Report, cancelled: threading.Event, *, name: ModelName | None = None
) -> None:
    """Bring the file into the store, under its own name or `name`.

    Raises:
        TransferError: the server does not give it; what has come stays for the next time.
        InvalidRequest, InvalidGGUF, UnsupportedModel: it is no model.
        StoreError, Cancelled.
    """
    report(Progress("pulling manifest"))
    with store.blobs.pinned() as blobs:
        path = download(None, None, [Source(origin.url)], blobs, report, cancelled)
        files = {"model.gguf": path.name.replace("-", ":", 1)}
        create(store, CreateRequest(str(name or origin.name), files=files), report=report, cancelled=cancelled)


def size_of(origin: AtUrl, cancelled: threading.Event) -> int:
    """Bytes of the file. Raises TransferError, Cancelled."""
    with http.client() as client:
        return retried(lambda: probe(Source(origin.url), client), Patience().at_first, cancelled)[0]
