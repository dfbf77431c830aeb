"""Models committed, copied and removed, with the blobs that only they used.

Each change is one rename or one unlink of a manifest under the store's lock: whatever dies, however it dies, the model
is as it was or as it should be. Blobs that an operation has pinned stay (`locking`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from puna.errors import InvalidRequest, ModelNotFound, StoreError
from puna.store import files, layers, locking, manifest
from puna.store.blobs import OWN, Blobs
from puna.store.layers import Config
from puna.store.names import ModelName
from puna.store.store import CRIA, Store, in_package

_DIGEST = re.compile(rb"sha256[:-]([0-9a-f]{64})")


def commit(root: Path, name: ModelName, raw: bytes) -> None:
    """Give the model in a manifest a name; one that had it is replaced, and loses the blobs that only it used.

    Call it inside `Blobs.pinned`, with every blob pinned.

    Raises:
        UnsupportedModel: `raw` is not a manifest.
        StoreError: a blob is missing or has another size, or the store cannot be written.
    """
    blobs = Blobs(root)
    with locking.exclusive(blobs.own):
        _put(blobs, name, raw)


def copy(store: Store, source: ModelName, destination: ModelName) -> None:
    """Give a model another name too; no blob is copied.

    Raises:
        ModelNotFound: no such source.
        UnsupportedModel, StoreError: as `commit`.
    """
    if source.same(CRIA) and not is_there(store.root, source):
        _store_cria(store, destination)
        return
    if (package := in_package(source)) and not is_there(store.root, source):
        raise InvalidRequest(f"{source} is in no store but in the Python package {package}: it has no other name")
    existing(store.root, source)
    with locking.exclusive(store.blobs.own):
        path = existing(store.root, source)
        if not source.same(destination):
            _put(store.blobs, destination, manifest.read(path).raw)


def _put(blobs: Blobs, name: ModelName, raw: bytes) -> None:
    path = manifest.path_of(blobs.root, name)
    new = manifest.parse(raw, path)
    for layer in (*new.layers, new.config):
        if not blobs.has(layer.digest) or blobs.size(layer.digest) != layer.size:
            raise StoreError(f"{name} is not complete: the blob sha256:{layer.digest} is missing or damaged")
    with files.storing(f"write {path}"):
        old = _digests(path)
        files.write(path, raw, temporary=temporary(blobs.root))
        _remove_unused(blobs, old)


def _store_cria(store: Store, name: ModelName) -> None:
    """The model in the box is in no store: there, it is one like the others."""
    model = store.resolve(str(CRIA))
    details = model.details
    config = Config(
        model_family=details.family,
        model_families=(details.family,),
        model_type=details.parameter_size,
        file_type=details.quantization_level,
    )
    with store.blobs.pinned() as blobs:
        weights = blobs.add_file(model.path, layers.MODEL)
        stored = blobs.add_bytes(config.to_bytes(), layers.CONFIG)
        commit(store.root, name, layers.manifest_bytes(stored, (weights,)))


def remove(root: Path, name: ModelName) -> int:
    """Remove a model, and the blobs that only it used. Gives the bytes that are free now.

    Raises:
        ModelNotFound: no such model.
        InvalidRequest: it is the one in the box.
        StoreError: the store cannot be written.
    """
    blobs = Blobs(root)
    if (package := in_package(name)) and not is_there(root, name):
        raise InvalidRequest(f"{name} is a part of the Python package {package}, and cannot be removed alone")
    existing(root, name)
    with locking.exclusive(blobs.own), files.storing(f"remove {name}"):
        path = existing(root, name)
        digests = _digests(path)
        path.unlink()
        files.sync_folder(path.parent)
        files.remove_empty(path.parent, below=root / "manifests")
        return _remove_unused(blobs, digests)


def is_there(root: Path, name: ModelName) -> bool:
    """Whether the store has a model of that name."""
    return manifest.path_of(root, name).is_file()


def existing(root: Path, name: ModelName) -> Path:
    """The manifest of a model that is there. Raises ModelNotFound."""
    path = manifest.path_of(root, name)
    if not path.is_file():
        raise ModelNotFound(f"model {str(name)!r} not found")
    return path


def remove_unused(root: Path, digests: Iterable[str]) -> int:
    """Remove those blobs that no model uses and no operation has pinned. Gives the bytes that are free now.

    Raises:
        StoreError: the store cannot be read or written.
    """
    blobs = Blobs(root)
    with locking.exclusive(blobs.own), files.storing(f"remove blobs from {blobs.folder}"):
        return _remove_unused(blobs, digests)


def used(root: Path) -> frozenset[str]:
    """The digests of all blobs that a model uses.

    Of a manifest that is damaged, whatever looks like a digest counts.

    Raises:
        StoreError: a manifest cannot be read, so that nobody knows.
    """
    digests: set[str] = set()
    for _, path in manifest.names(root):
        digests |= _digests(path)
    return frozenset(digests)


def _digests(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    with files.storing(f"read {path}"):
        return frozenset(found.decode() for found in _DIGEST.findall(path.read_bytes()))


def _remove_unused(blobs: Blobs, digests: Iterable[str]) -> int:
    unused = frozenset(digests) - used(blobs.root) - locking.pinned(blobs.own)
    return sum(blobs.remove(digest) for digest in unused)


def temporary(root: Path) -> Path:
    """A folder on the file system of the manifests, which may be another than that of the blobs."""
    return root / OWN / "temporary"
