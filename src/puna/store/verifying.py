"""Hashes every blob of a store again, sets aside what is damaged, has it fetched again. Knows nothing of networks."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from puna.errors import Cancelled, ModelNotFound, PunaError, UnsupportedModel
from puna.store import files, management, manifest
from puna.store.blobs import Blobs, hashed
from puna.store.layers import Layer
from puna.store.names import ModelName
from puna.store.progress import Progress, Report, check, ignore

# (models whose part it is, the part, Blobs to add it to, ...) -> adds it, or raises PunaError
Fetch: TypeAlias = Callable[[Sequence[ModelName], Layer, Blobs, Report, threading.Event], None]


@dataclass(frozen=True, slots=True)
class Damage:
    """Something in the store that is not what it should be."""

    path: Path  # where it is or was; a manifest or a blob
    reason: str
    models: tuple[ModelName, ...] = ()  # that it is a part of
    layer: Layer | None = None  # None: it is a manifest
    repaired: bool = False
    not_repaired: str = ""  # why not


@dataclass(frozen=True, slots=True)
class _Part:
    layer: Layer
    models: tuple[ModelName, ...]


def verify(
    root: Path,
    *,
    fetch: Fetch | None = None,
    dry_run: bool = False,
    report: Report = ignore,
    cancelled: threading.Event | None = None,
) -> list[Damage]:
    """Look at every manifest and every blob; gives what is not as it should be.

    Args:
        fetch: brings a blob that is missing or damaged; None: nothing is repaired.
        dry_run: nothing is set aside or fetched, either.

    Raises:
        StoreError: the store cannot be read or written.
        Cancelled.
    """
    blobs, cancelled = Blobs(root), cancelled or threading.Event()
    parts, found = _parts(root)
    looking = _Looking(blobs, report, cancelled, dry_run)
    for part in [*parts.values(), *_unused(parts, blobs)]:
        check(cancelled)
        damage = looking.at(part)
        if damage is not None:
            found.append(damage if dry_run or fetch is None else _repaired(blobs, damage, fetch, report, cancelled))
    return found


def _parts(root: Path) -> tuple[dict[str, _Part], list[Damage]]:
    """What the manifests name, by digest; and the manifests that are none."""
    parts: dict[str, _Part] = {}
    damaged = []
    for name, path in manifest.names(root):
        try:
            read = manifest.read(path)
        except ModelNotFound:  # removed in the meantime
            continue
        except UnsupportedModel as error:
            damaged.append(Damage(path, str(error), (name,), not_repaired="pull or create the model again"))
            continue
        for layer in read.parts:
            known = parts.get(layer.digest, _Part(layer, ()))
            parts[layer.digest] = replace(known, models=(*known.models, name))
    return parts, damaged


def _unused(parts: Mapping[str, _Part], blobs: Blobs) -> list[_Part]:
    return [_Part(Layer("", digest, status.st_size), ()) for digest, status in blobs.each() if digest not in parts]


class _Looking:
    """Looks at one blob after the other, and counts the bytes."""

    def __init__(self, blobs: Blobs, report: Report, cancelled: threading.Event, dry_run: bool) -> None:
        self._blobs = blobs
        self._report = report
        self._cancelled = cancelled
        self._dry_run = dry_run
        self._total = sum(status.st_size for _, status in blobs.each())
        self._done = 0

    def at(self, part: _Part) -> Damage | None:
        """What is wrong with a blob; it is set aside then."""
        blobs, digest = self._blobs, part.layer.digest
        path = blobs.path(digest)
        if not path.is_file():
            if digest not in management.used(blobs.root):  # nobody needs it any more
                return None
            return Damage(path, "it is missing", part.models, part.layer)
        reason = self._difference(path, digest)
        if reason is None:
            return None
        if not self._dry_run:
            blobs.quarantine(digest)
        return Damage(path, reason, part.models, part.layer)

    def _difference(self, path: Path, digest: str) -> str | None:
        """How a file differs from what its digest stands for."""
        with files.storing(f"read {path}"):
            try:
                with path.open("rb") as file:
                    status = os.fstat(file.fileno())
                    actual = hashed(file, "verifying", self._tell, self._cancelled)
            except FileNotFoundError:  # removed in the meantime
                return None
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return f"it cannot be read: {error.strerror}"
        self._done += status.st_size
        if actual != digest:
            return f"its content is that of sha256:{actual}"
        if not self._dry_run and not self._blobs.has(digest):  # only the date of a file used in place has changed
            self._blobs.recognise(digest, status)
        return None

    def _tell(self, progress: Progress) -> None:
        completed = self._done + (progress.completed or 0)
        self._report(Progress("verifying", total=max(self._total, completed), completed=completed))


def _repaired(blobs: Blobs, damage: Damage, fetch: Fetch, report: Report, cancelled: threading.Event) -> Damage:
    if damage.layer is None:
        return damage
    if not damage.models:
        return replace(damage, repaired=True)  # no model misses it
    with blobs.pinned([damage.layer.digest]) as adding:
        try:
            fetch(damage.models, damage.layer, adding, report, cancelled)
        except Cancelled:
            raise
        except PunaError as error:
            return replace(damage, not_repaired=str(error))
    return replace(damage, repaired=True)
