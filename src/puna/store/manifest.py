"""Ollama's manifests and blobs, read as the hostile files they may be: bounded, checked, inside their folder.

Layout: `manifests/<host>/<namespace>/<model>/<tag>` (JSON) and `blobs/sha256-<64 hex>`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from puna.errors import InvalidRequest, ModelNotFound, UnsupportedModel
from puna.store import files
from puna.store.blobs import Blobs
from puna.store.layers import Layer
from puna.store.names import ModelName

DEPTH = 4  # folders and file below manifests: host, namespace, model, tag
MAX_TEXT = 4 << 20  # bytes of a manifest or of a text layer

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model of an Ollama store."""

    path: Path
    raw: bytes
    modified: float  # Unix seconds
    config: Layer
    layers: tuple[Layer, ...]

    def of(self, media_type: str) -> tuple[Layer, ...]:
        """The layers of one kind, in order."""
        return tuple(layer for layer in self.layers if layer.media_type == media_type)

    @property
    def parts(self) -> tuple[Layer, ...]:
        """All layers and the config, each digest once."""
        return tuple({layer.digest: layer for layer in (*self.layers, self.config)}.values())

    @property
    def digests(self) -> frozenset[str]:
        """Of all layers and the config."""
        return frozenset(layer.digest for layer in self.parts)

    @property
    def size(self) -> int:
        """Bytes of all layers and the config."""
        return self.config.size + sum(layer.size for layer in self.layers)


def names(root: Path) -> Iterator[tuple[ModelName, Path]]:
    """Every model name under `root`/manifests with its manifest; files that are no names are passed over.

    Raises StoreError: a folder cannot be read.
    """
    folder = root / "manifests"
    paths = [folder]
    for _ in range(DEPTH):
        paths = [child for path in paths for child in _children(path)]
    for path in paths:
        if not path.is_file():
            continue
        try:
            yield ModelName(*path.relative_to(folder).parts), path
        except InvalidRequest:  # .DS_Store and the like
            continue


def find(root: Path, name: ModelName) -> tuple[ModelName, Path] | None:
    """The name as it is written here, and its manifest. Case does not count, unless it tells two names apart."""
    found = {known: path for known, path in names(root) if name.same(known)}
    if not found:
        return None
    known = name if name in found else next(iter(found))
    return known, found[known]


def path_of(root: Path, name: ModelName) -> Path:
    """Where a name's manifest is, or would be: parts that are there in another case keep it."""
    if found := find(root, name):
        return found[1]
    path = root / "manifests"
    for part in name.parts():
        alike = {each.name for each in _children(path) if each.name.lower() == part.lower()}
        path /= part if part in alike or not alike else min(alike)
    return path


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        UnsupportedModel: not a manifest.
        ModelNotFound, StoreError: it is not there any more, or cannot be read.
    """
    raw, modified = _bounded(path)
    return parse(raw, path, modified)


def parse(raw: bytes, path: Path, modified: float = 0.0) -> Manifest:
    """The manifest in `raw`, which is, or is to be, at `path`. Raises UnsupportedModel."""
    try:
        document = json.loads(raw)
        parts = tuple(_layer(entry) for entry in document["layers"])
        return Manifest(path, raw, modified, _layer(document["config"]), parts)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnsupportedModel(f"{path} is not a model manifest: {error!r}") from error


def blob(root: Path, layer: Layer) -> Path:
    """The file of a layer. Raises as `Blobs.file`."""
    return Blobs(root).file(layer.digest)


def text(root: Path, layer: Layer) -> str:
    """The content of a text layer (system, template, license)."""
    return _bounded(blob(root, layer))[0].decode("utf-8", errors="replace")


def document(root: Path, layer: Layer) -> object:
    """The content of a JSON layer (config, params, messages)."""
    try:
        return json.loads(text(root, layer))
    except (ValueError, RecursionError) as error:
        raise UnsupportedModel(f"{blob(root, layer)} is not JSON: {error}") from error


def _layer(entry: dict[str, object]) -> Layer:
    match = _DIGEST.fullmatch(str(entry["digest"]))
    if match is None:
        raise ValueError(f"{entry['digest']!r} is not a sha256 digest")
    size = entry["size"]
    if type(size) is not int or size < 0:
        raise ValueError(f"{size!r} is not a size")
    return Layer(str(entry["mediaType"]), match[1], size, str(entry.get("from", "")), str(entry.get("name", "")))


def _children(folder: Path) -> list[Path]:
    """What is in a folder; nothing in what is none, or not any more."""
    with files.storing(f"read {folder}"):
        try:
            return sorted(folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []


def _bounded(path: Path) -> tuple[bytes, float]:
    """A file's bytes, and when they were written."""
    with files.storing(f"read {path}"):
        try:
            with path.open("rb") as file:
                data, modified = file.read(MAX_TEXT + 1), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            raise ModelNotFound(f"{path} is gone: the model has just been removed or replaced") from None
    if len(data) > MAX_TEXT:
        raise UnsupportedModel(f"{path} is larger than the {MAX_TEXT} bytes such a file may have")
    return data, modified
