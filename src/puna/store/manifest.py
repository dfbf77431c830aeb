"""Ollama's manifests and blobs, read as the hostile files they may be: bounded, checked, inside their folder.

Layout: `manifests/<host>/<namespace>/<model>/<tag>` (JSON) and `blobs/sha256-<64 hex>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from puna.errors import InvalidRequest, ModelNotFound, UnsupportedModel
from puna.store.names import ModelName

MAX_TEXT = 4 << 20  # bytes of a manifest or of a text layer

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob and what it is."""

    media_type: str
    digest: str  # 64 hex digits
    size: int  # bytes

    @property
    def kind(self) -> str:
        """The last word of the media type: model, template, system, params, ..."""
        return self.media_type.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model of an Ollama store."""

    path: Path
    raw: bytes
    config: Layer
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Bytes of all layers and the config."""
        return self.config.size + sum(layer.size for layer in self.layers)


def names(root: Path) -> Iterator[tuple[ModelName, Path]]:
    """Every model name under `root`/manifests with its manifest; files that are no names are passed over."""
    folder = root / "manifests"
    for path in sorted(folder.glob("*/*/*/*")):
        if not path.is_file():
            continue
        try:
            yield ModelName(*path.relative_to(folder).parts), path
        except InvalidRequest:  # .DS_Store and the like
            continue


def read(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        UnsupportedModel: not a manifest.
    """
    raw = _bounded(path)
    try:
        document = json.loads(raw)
        return Manifest(path, raw, _layer(document["config"]), tuple(_layer(entry) for entry in document["layers"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnsupportedModel(f"{path} is not a model manifest: {error!r}") from error


def blob(root: Path, layer: Layer) -> Path:
    """The file of a layer.

    Raises:
        ModelNotFound: the blob is not in the store.
    """
    path = root / "blobs" / f"sha256-{layer.digest}"
    if not path.is_file():
        raise ModelNotFound(f"a part of the model is missing ({path}): pull the model again")
    return path


def text(root: Path, layer: Layer) -> str:
    """The content of a text layer (system, template, license)."""
    return _bounded(blob(root, layer)).decode("utf-8", errors="replace")


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
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"{size!r} is not a size")
    return Layer(str(entry["mediaType"]), match[1], size)


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_TEXT + 1)
    if len(data) > MAX_TEXT:
        raise UnsupportedModel(f"{path} is larger than the {MAX_TEXT} bytes such a file may have")
    return data
