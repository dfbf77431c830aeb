"""A model of a hub's repository brought into the store: chosen, fetched, verified, made as `create` makes models."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from puna.errors import DigestMismatch, TransferError
from puna.store import go_json, layers, management, manifest
from puna.store.blobs import Blobs
from puna.store.create import create
from puna.store.create_request import CreateRequest
from puna.store.names import ModelName
from puna.store.progress import Progress, Report
from puna.store.sources import huggingface, modelscope, records
from puna.store.sources.choosing import InRepository
from puna.store.sources.plan import PROJECTOR, Plan, plan
from puna.store.sources.repository import RemoteFile, Repository
from puna.store.store import Store
from puna.store.transfer import http
from puna.store.transfer.download import arrived, check_room, download
from puna.store.transfer.reading import read

MAX_SMALL = 64 << 20  # bytes of a file that is not in LFS (the Hub takes 10 MB)
MAX_TEXT = 1 << 20  # bytes of a template, a system prompt, parameters


def list_repository(origin: InRepository, client: httpx.Client, cancelled: threading.Event) -> Repository:
    """The files of a repository. Raises ModelNotFound, TransferError, Cancelled."""
    if origin.hub == "huggingface":
        return huggingface.listing(origin, cancelled)
    return modelscope.listing(origin, client, cancelled)


def fetch(
    store: Store, origin: InRepository, report: Report, cancelled: threading.Event, *, name: ModelName | None = None
) -> None:
    """Bring the model into the store, under its own name or `name`.

    Raises:
        ModelNotFound, InvalidRequest: no such repository or file, or not one alone.
        TransferError: the hub does not give it.
        UnsupportedModel, InvalidGGUF, StoreError, DigestMismatch, Cancelled.
    """
    name = name or origin.name
    report(Progress("pulling manifest"))
    with http.client() as client:
        repository = list_repository(origin, client, cancelled)
        chosen = plan(repository, origin.wanted)
        given = {file.digest for file in chosen.files.values() if file.digest}
        with store.blobs.pinned(given) as blobs:
            fetching = _Fetching(blobs, client, report, cancelled)
            made, lacking = lacking_files(blobs, chosen)
            blobs.pin([made] if made else [])
            check_room(blobs.own, sum(file.size - _here(blobs, file) for file in lacking.values()))
            files = {"model.gguf": f"sha256:{made}"} if made else {}
            files |= {name: f"sha256:{fetching.blob(file)}" for name, file in lacking.items()}
            texts = {text: fetching.text(file) for text, file in chosen.texts.items()}
            request = CreateRequest(
                str(name),
                files=files,
                expendable=frozenset(given - management.used(store.root)) if chosen.is_made else frozenset(),
                quantize="" if made else chosen.quantize,
                template=texts.get("template", ""),
                system=texts.get("system", ""),
                parameters=_parameters(texts.get("params")),
            )
            create(store, request, report=report, cancelled=cancelled)
    _tidy(store, name, chosen, files)


def lacking_files(blobs: Blobs, chosen: Plan) -> tuple[str | None, Mapping[str, RemoteFile]]:
    """The blob that was made of the model's files before, if it is here; and the files that are needed beside it."""
    made = records.find(blobs, chosen.key) if chosen.is_made and chosen.key else None
    if made is None:
        return None, chosen.files
    return made, {name: file for name, file in chosen.files.items() if name == PROJECTOR}


def _here(blobs: Blobs, file: RemoteFile) -> int:
    """Bytes of it that are on this machine."""
    if file.digest is None:
        return 0
    return file.size if blobs.has(file.digest) else arrived(blobs, file.digest, file.size)


@dataclass(frozen=True, slots=True)
class _Fetching:
    """Gets files, and tells how far it is."""

    blobs: Blobs  # inside `pinned`
    client: httpx.Client
    report: Report
    cancelled: threading.Event

    def text(self, file: RemoteFile) -> str:
        """A text of the repository."""
        return self._small(file, MAX_TEXT).decode("utf-8", errors="replace")

    def blob(self, file: RemoteFile) -> str:
        """A file as a blob; gives its digest."""
        if file.digest is not None:
            download(file.digest, file.size, file.sources, self.blobs, self.report, self.cancelled)
            self.report(Progress(f"pulling {file.digest[:12]}", file.digest, file.size, file.size))
            return file.digest
        return self.blobs.add_bytes(self._small(file, MAX_SMALL), layers.MODEL).digest

    def _small(self, file: RemoteFile, most: int) -> bytes:
        """A file that is not in LFS: checked against git's digest where the hub tells it."""
        if file.size > most:
            raise TransferError(f"{file.path!r:.80} has {file.size} bytes and no sha256, by which it could be verified")
        data = read(file.sources, most, self.client, self.cancelled)
        if file.digest is not None and hashlib.sha256(data).hexdigest() != file.digest:
            raise DigestMismatch(f"{file.path!r:.80} is not what the hub says it is")
        git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        if len(data) != file.size or (file.git_digest is not None and file.digest is None and git != file.git_digest):
            raise DigestMismatch(f"{file.path!r:.80} is not what the hub says it is")
        return data


def _tidy(store: Store, name: ModelName, chosen: Plan, files: Mapping[str, str]) -> None:
    """Remember what was made, and remove what it was made of."""
    if not chosen.is_made:
        return
    model = manifest.read(manifest.path_of(store.root, name)).of(layers.MODEL)
    if chosen.key is not None and model:
        records.remember(store.blobs, chosen.key, model[0].digest)
    management.remove_unused(store.root, (digest.removeprefix("sha256:") for digest in files.values()))


def _parameters(text: str | None) -> dict[str, object]:
    if text is None:
        return {}
    try:
        parameters = json.loads(text)
        go_json.encode(parameters)  # no infinity, which Python's JSON has
    except (ValueError, RecursionError) as error:
        raise TransferError(f"the repository's file params is not JSON: {error}") from None
    if not isinstance(parameters, dict):
        raise TransferError("the repository's file params is not a JSON object")
    return parameters
