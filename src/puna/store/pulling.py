"""`pull`: a model brought to this machine from wherever its name says that it is. Chooses; others do the work.

A hub's repository is asked for as a registry's model first, for then it is byte for byte what Ollama would have. Where
the hub refuses that (a model in several files, or in safetensors), its files are fetched one by one.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass

from puna.errors import InvalidRequest
from puna.store.blobs import Blobs
from puna.store.layers import CONFIG
from puna.store.names import ModelName
from puna.store.progress import Progress, Report, check
from puna.store.registry import pulling as registry
from puna.store.registry.reference import check_scheme
from puna.store.sources import fetching, folder, huggingface, modelscope, url
from puna.store.sources.choosing import AtRegistry, AtUrl, InRepository, Origin, source_of
from puna.store.sources.plan import plan as plan_repository
from puna.store.store import CRIA, Store
from puna.store.transfer import http
from puna.store.transfer.download import arrived


@dataclass(frozen=True, slots=True)
class Cost:
    """A part of a model, and what it takes to have it."""

    what: str  # model, template, ...; or the file's path in its repository
    digest: str | None  # 64 hex digits; None where it is known only afterwards
    size: int  # bytes
    here: int  # bytes of it that are on this machine already


def pull(store: Store, text: str, *, insecure: bool = False, report: Report, cancelled: threading.Event) -> ModelName:
    """Bring the model that `text` names into the store; gives the name it has there.

    Args:
        insecure: without TLS.

    Raises:
        InvalidRequest: no name, or one of a kind that cannot be pulled.
        ModelNotFound, NotInRegistry: there is no such model there.
        TransferError, DigestMismatch: it cannot be had; what has come stays for the next time.
        UnsupportedModel, InvalidGGUF: it is none that can be used here.
        StoreError: there is no room, or the store cannot be written.
        Cancelled.
    """
    origin = origin_of(store, text, insecure)
    if isinstance(origin, AtRegistry):
        if origin.name.same(CRIA):
            report(Progress("pulling manifest"))  # it is in the box
        else:
            registry.pull(store, origin.name, insecure=insecure, report=report, cancelled=cancelled)
    elif isinstance(origin, InRepository):
        _pull_repository(store, origin, insecure, report, cancelled)
    elif isinstance(origin, AtUrl):
        url.fetch(store, origin, report, cancelled)
    else:
        folder.fetch(store, origin, report, cancelled)
    return origin.name


def plan(store: Store, text: str, *, insecure: bool = False, cancelled: threading.Event) -> list[Cost]:
    """What `pull` would take. Raises as `pull`."""
    origin = origin_of(store, text, insecure)
    if isinstance(origin, AtRegistry):
        return [] if origin.name.same(CRIA) else _costs(store, origin.name, insecure, cancelled)
    if isinstance(origin, InRepository):
        return _costs_of_repository(store, origin, insecure, cancelled)
    if isinstance(origin, AtUrl):
        return [Cost("model", None, url.size_of(origin, cancelled), 0)]
    return [Cost(str(origin.path), None, size := folder.size_of(origin), size)]


def check_name(text: str) -> None:
    """Raises InvalidRequest where `text` names nothing that could be pulled by a server."""
    if not text.strip():
        raise InvalidRequest("invalid model name")
    source_of(text, allow_paths=False)


def origin_of(store: Store, text: str, insecure: bool) -> Origin:
    """Where a model comes from. Raises InvalidRequest."""
    check_scheme(text, insecure=insecure)  # http:// needs `insecure`, or leads to this machine
    return source_of(text, allow_paths=store.allow_paths)


def by_files(origin: InRepository) -> bool:
    """Whether what is asked for is more than a registry's name can say, or is to come from another place."""
    module = huggingface if origin.hub == "huggingface" else modelscope
    return origin.revision is not None or "/" in (origin.wanted or "") or module.redirected()


def _pull_repository(
    store: Store, origin: InRepository, insecure: bool, report: Report, cancelled: threading.Event
) -> None:
    if not by_files(origin):
        try:
            registry.pull(store, origin.name, insecure=insecure, report=report, cancelled=cancelled)
            return
        except registry.NoManifest:
            check(cancelled)
    fetching.fetch(store, origin, report, cancelled)


def _costs(store: Store, name: ModelName, insecure: bool, cancelled: threading.Event) -> list[Cost]:
    steps = registry.plan(store, name, insecure=insecure, cancelled=cancelled)
    return [
        Cost(
            "config" if step.layer.media_type == CONFIG else step.layer.kind,
            step.layer.digest,
            step.layer.size,
            step.here,
        )
        for step in steps
    ]


def _costs_of_repository(store: Store, origin: InRepository, insecure: bool, cancelled: threading.Event) -> list[Cost]:
    if not by_files(origin):
        with contextlib.suppress(registry.NoManifest):
            return _costs(store, origin.name, insecure, cancelled)
    with http.client() as client:
        chosen = plan_repository(fetching.list_repository(origin, client, cancelled), origin.wanted)
    made, lacking = fetching.lacking_files(store.blobs, chosen)
    known = [Cost("model", made, size := store.blobs.size(made), size)] if made else []
    files = (*lacking.values(), *chosen.texts.values())
    return known + [
        Cost(file.path, file.digest, file.size, _here(store.blobs, file.digest, file.size)) for file in files
    ]


def _here(blobs: Blobs, digest: str | None, size: int) -> int:
    if digest is None:
        return 0
    return size if blobs.has(digest) else arrived(blobs, digest, size)
