"""A model brought from a registry: its manifest, then the blobs that are not here, then its name.

The manifest's bytes are kept as they came. Where it and the blobs come from: PUNA_MIRRORS' places, then the host.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from puna.errors import Cancelled, PunaError, TransferError, UnsupportedModel
from puna.store import management, manifest
from puna.store.blobs import Blobs
from puna.store.layers import Layer
from puna.store.manifest import MAX_TEXT, Manifest
from puna.store.names import ModelName
from puna.store.progress import Progress, Report, check
from puna.store.registry.auth import RegistryAuth
from puna.store.registry.reference import MANIFEST_TYPES, blob_url, manifest_url, roots_of
from puna.store.store import Store
from puna.store.transfer import http
from puna.store.transfer.download import arrived, check_room, download
from puna.store.transfer.reading import Missing, read
from puna.store.transfer.retrying import GaveUp, Patience
from puna.store.transfer.source import Source


class NoManifest(TransferError):
    """The registry refuses to say what the model is made of."""


class NotInRegistry(NoManifest):
    """The registry has no such model. The message is Ollama's."""


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a model, and whether it must be fetched."""

    layer: Layer
    here: int  # bytes of it that are on this machine


class Registry:
    """The places that a model can be had from. A context manager.

    Args:
        insecure: without TLS.
        patience: with servers that fail.
    """

    def __init__(self, name: ModelName, *, insecure: bool = False, patience: Patience | None = None) -> None:
        self.name = name
        self.client = http.client(stall=(patience or Patience()).stall)
        self._patience = patience
        self._roots = {root: RegistryAuth(self.client, root) for root in roots_of(name, insecure=insecure)}

    def manifest(self, cancelled: threading.Event) -> bytes:
        """The manifest that the name stands for, as the first place that answers has it.

        Raises:
            NotInRegistry: no place has it.
            NoManifest: it is refused.
            GaveUp: no place answers.
            Cancelled.
        """
        sources = [
            Source(manifest_url(root, self.name), headers=lambda: {"Accept": MANIFEST_TYPES}, auth=auth)
            for root, auth in self._roots.items()
        ]
        try:
            return read(sources, MAX_TEXT, self.client, cancelled, (self._patience or Patience()).at_first)
        except Missing as error:
            raise NotInRegistry("pull model manifest: file does not exist") from error
        except TransferError as error:
            kind = GaveUp if isinstance(error, GaveUp) else NoManifest
            raise kind(f"pull model manifest: {error}") from error

    def fetch(self, layer: Layer, blobs: Blobs, report: Report, cancelled: threading.Event) -> None:
        """Bring a blob into the store. Raises as `download`, and TransferError where its size is another."""
        download(layer.digest, layer.size, self.sources(layer), blobs, report, cancelled, patience=self._patience)

    def sources(self, layer: Layer) -> list[Source]:
        """Where a blob can be had."""
        return [Source(blob_url(root, self.name, layer.digest), auth=auth) for root, auth in self._roots.items()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()


def pull(
    store: Store,
    name: ModelName,
    *,
    insecure: bool = False,
    report: Report,
    cancelled: threading.Event,
    patience: Patience | None = None,
) -> None:
    """Bring a model into the store; one of that name is replaced once all of the new one is here.

    Raises:
        NotInRegistry, TransferError, DigestMismatch: it cannot be had; what has come stays for the next time.
        UnsupportedModel: the registry's answer is no manifest.
        StoreError: there is no room, or the store cannot be written.
        Cancelled.
    """
    with Registry(name, insecure=insecure, patience=patience) as registry:
        report(Progress("pulling manifest"))
        raw = registry.manifest(cancelled)
        path = manifest.path_of(store.root, name)
        new = manifest.parse(raw, path)
        with store.blobs.pinned(new.digests) as blobs:
            check_room(blobs.own, sum(step.layer.size - step.here for step in steps(new, blobs)))
            for layer in new.parts:
                registry.fetch(layer, blobs, report, cancelled)
                report(Progress(f"pulling {layer.digest[:12]}", layer.digest, layer.size, layer.size))
            check(cancelled)
            report(Progress("verifying sha256 digest"))  # done while they came
            report(Progress("writing manifest"))
            outdated = _digests(path) - new.digests
            management.commit(store.root, name, raw)
            if outdated:
                report(Progress("removing unused layers"))


def plan(
    store: Store, name: ModelName, *, insecure: bool = False, cancelled: threading.Event | None = None
) -> list[Step]:
    """What `pull` would fetch. Raises as `pull`."""
    with Registry(name, insecure=insecure) as registry:
        raw = registry.manifest(cancelled or threading.Event())
        return steps(manifest.parse(raw, manifest.path_of(store.root, name)), store.blobs)


def steps(wanted: Manifest, blobs: Blobs) -> list[Step]:
    """The parts of a model, and how much of each is here."""
    return [Step(layer, _here(layer, blobs)) for layer in wanted.parts]


def refetch(names: Sequence[ModelName], layer: Layer, blobs: Blobs, report: Report, cancelled: threading.Event) -> None:
    """Bring one blob again, from wherever one of the models that it is a part of was pulled from.

    Raises:
        TransferError: none of their registries gives it.
        StoreError, Cancelled.
    """
    failures = []
    for name in names:
        try:
            with Registry(name) as registry:
                return registry.fetch(layer, blobs, report, cancelled)
        except Cancelled:
            raise
        except PunaError as error:
            failures.append(f"{name}: {error}")
    raise TransferError("; ".join(failures))


def _here(layer: Layer, blobs: Blobs) -> int:
    return layer.size if blobs.has(layer.digest) else arrived(blobs, layer.digest, layer.size)


def _digests(path: Path) -> frozenset[str]:
    """Those of the model that is replaced."""
    try:
        return manifest.read(path).digests if path.is_file() else frozenset()
    except UnsupportedModel:
        return frozenset()
