"""A model sent to a registry: the blobs that it lacks, then the manifest, byte for byte as it is here."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from puna.errors import InvalidRequest, ModelNotFound, TransferError, UnsupportedModel
from puna.store import layers, management, manifest
from puna.store.blobs import Blobs
from puna.store.layers import Layer
from puna.store.manifest import Manifest
from puna.store.names import DEFAULT_NAMESPACE, ModelName
from puna.store.progress import Progress, Report, check
from puna.store.registry.auth import RegistryAuth
from puna.store.registry.reference import check_scheme, manifest_url, repository_of, root_of
from puna.store.store import CRIA, Store
from puna.store.transfer import http
from puna.store.transfer.destination import Denied, Outgoing, Registry, has_blob, refusal
from puna.store.transfer.retrying import Patience, retried
from puna.store.transfer.upload import Upload


def name_to_push(text: str, *, insecure: bool = False) -> ModelName:
    """The name that `text` is. Raises InvalidRequest where it is none, or says http:// without `insecure`."""
    check_scheme(text, insecure=insecure)
    return ModelName.parse(text)


def push(
    store: Store,
    name: ModelName,
    *,
    insecure: bool = False,
    report: Report,
    cancelled: threading.Event,
    patience: Patience | None = None,
) -> None:
    """Send the model of that name to the registry that its name says.

    Raises:
        ModelNotFound: it is not in the store, or a part of it is not.
        TransferError: the registry does not take it. What it has taken it need not be sent again.
        StoreError: a blob cannot be read.
        Cancelled.
    """
    patience = patience or Patience()
    read = _existing(store, name)
    report(Progress("retrieving manifest"))
    root = root_of(name, insecure=insecure)
    try:
        with http.client(stall=patience.stall) as client, http.client(stall=patience.stall) as storage:
            registry = Registry(root, client, RegistryAuth(client, root))
            with store.blobs.pinned(read.digests) as blobs:
                parts = [_outgoing(store, blobs, name, layer) for layer in read.parts]  # all here, or none goes
                for number, outgoing in enumerate(parts):
                    check(cancelled)
                    bearing = patience if number else patience.at_first
                    if not retried(partial(has_blob, registry, outgoing), bearing, cancelled):
                        Upload(registry, storage, outgoing, blobs.own / "uploads", report, cancelled, patience).run()
                    report(outgoing.progress(outgoing.size))
                report(Progress("pushing manifest"))
                retried(partial(_put_manifest, registry, name, read), patience, cancelled)
    except Denied as error:
        own = "you" if name.namespace == DEFAULT_NAMESPACE else name.namespace
        raise TransferError(
            f"{error}; you may push to a namespace of yours only (puna cp {name} {own}/{name.model}), once the "
            "registry knows the key in ~/.ollama/id_ed25519.pub, or you have logged in with `docker login`"
        ) from error


def _existing(store: Store, name: ModelName) -> Manifest:
    if name.same(CRIA) and not management.is_there(store.root, name):
        raise InvalidRequest(f"{CRIA} belongs to puna: give it a name of yours first (puna cp cria you/cria)")
    read = manifest.read(management.existing(store.root, name))
    if not read.layers:
        raise UnsupportedModel(f"{name} has no layers")
    return read


def _outgoing(store: Store, blobs: Blobs, name: ModelName, layer: Layer) -> Outgoing:
    size = blobs.size(layer.digest)
    if size != layer.size:
        raise ModelNotFound(f"a part of {name} is damaged (sha256:{layer.digest}): `puna verify` repairs it")
    mount_from = next(_repositories_with(store, name, layer), None)
    return Outgoing(blobs.file(layer.digest), layer.digest, size, repository_of(name), mount_from)


def _repositories_with(store: Store, name: ModelName, layer: Layer) -> Iterator[str]:
    """Other repositories of the same registry that may have the blob: it can be mounted from there, and need not go."""
    candidates = []
    if layer.from_:
        with contextlib.suppress(InvalidRequest):  # a path, or what another program wrote
            candidates.append(ModelName.parse(layer.from_))
    candidates += [
        known for known, path in manifest.names(store.root) if layer.digest in _digests(path) and not known.same(name)
    ]
    for candidate in candidates:
        same_host = candidate.host.lower() == name.host.lower()
        if same_host and repository_of(candidate).lower() != repository_of(name).lower():
            yield repository_of(candidate)


def _digests(path: Path) -> frozenset[str]:
    try:
        return manifest.read(path).digests
    except (OSError, UnsupportedModel):
        return frozenset()


def _put_manifest(registry: Registry, name: ModelName, read: Manifest) -> None:
    response = registry.send(
        "PUT",
        manifest_url(registry.url, name),
        headers={"Content-Type": _media_type(read.raw)},
        content=read.raw,
    )
    if response.status_code not in (200, 201, 202, 204):
        raise refusal(response, name.host)


def _media_type(raw: bytes) -> str:
    told = json.loads(raw).get("mediaType")
    return told if isinstance(told, str) and told.isascii() and told.isprintable() else layers.MANIFEST
