"""Writes models into a folder the way Ollama lays out its store, for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

CRIA = Path(str(files("puna").joinpath("data", "cria.gguf")))
PREFIX = "application/vnd.ollama.image."


def add_blob(root: Path, data: bytes) -> str:
    """Store bytes; gives their digest as a manifest writes it."""
    digest = hashlib.sha256(data).hexdigest()
    path = root / "blobs" / f"sha256-{digest}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return f"sha256:{digest}"


def add_model(
    root: Path,
    name: str = "registry.ollama.ai/library/llama/latest",
    *,
    layers: Sequence[tuple[str, bytes]] = (),
    config: Mapping[str, object] | None = None,
    gguf: bytes | None = None,
) -> Path:
    """Store cria's weights (or `gguf`) with other layers (kind, content); gives the manifest's path."""
    default = {"model_format": "gguf", "model_family": "llama", "model_type": "3.05M", "file_type": "Q8_0"}
    parts = [("model", CRIA.read_bytes() if gguf is None else gguf), *layers]
    config_bytes = json.dumps(default if config is None else config).encode()
    manifest = {
        "schemaVersion": 2,
        "config": _layer(root, "application/vnd.docker.container.image.v1+json", config_bytes),
        "layers": [_layer(root, PREFIX + kind, data) for kind, data in parts],
    }
    return add_manifest(root, name, json.dumps(manifest).encode())


def add_manifest(root: Path, name: str, content: bytes) -> Path:
    """Store a manifest as it is."""
    path = root / "manifests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _layer(root: Path, media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": add_blob(root, data), "size": len(data)}
