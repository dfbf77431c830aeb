"""A file or folder of this machine taken into the store: shared blocks where the file system can, else a copy, or a
reference to where it lies."""

from __future__ import annotations

import threading

from puna.errors import ModelNotFound
from puna.store.components import gather
from puna.store.create import create
from puna.store.create_request import CreateRequest
from puna.store.modelfile import Instruction, Modelfile
from puna.store.names import ModelName
from puna.store.progress import Report
from puna.store.sources.choosing import OnDisk
from puna.store.store import Store


def fetch(
    store: Store,
    origin: OnDisk,
    report: Report,
    cancelled: threading.Event,
    *,
    name: ModelName | None = None,
    reference: bool = False,
) -> None:
    """Take the model into the store, under its own name or `name`.

    reference: use GGUF files where they lie.

    Raises:
        ModelNotFound: nothing is there.
        InvalidRequest, InvalidGGUF, UnsupportedModel: it is no model.
        StoreError, Cancelled.
    """
    _check(origin)
    recipe = Modelfile((Instruction("from", str(origin.path)),))
    request = CreateRequest(
        str(name or origin.name), components=gather(recipe, origin.path.parent), reference=reference
    )
    create(store, request, report=report, cancelled=cancelled)


def size_of(origin: OnDisk) -> int:
    """Bytes of the file, or of all files of the folder. Raises ModelNotFound."""
    _check(origin)
    paths = [path for path in origin.path.rglob("*") if path.is_file()] if origin.path.is_dir() else [origin.path]
    return sum(path.stat().st_size for path in paths)


def _check(origin: OnDisk) -> None:
    if not origin.path.exists():
        raise ModelNotFound(f"model {str(origin.path)!r} not found: there is no such file or folder")
