"""What models in a store are made of: layers and their media types, the config. Knows nothing of files.

Ollama's manifests are those of Docker, with media types of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from puna.store import go_json

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"

_IMAGE = "application/vnd.ollama.image."
MODEL = f"{_IMAGE}model"  # GGUF
PROJECTOR = f"{_IMAGE}projector"  # GGUF
ADAPTER = f"{_IMAGE}adapter"  # GGUF
DRAFT = f"{_IMAGE}draft"  # GGUF
TEMPLATE = f"{_IMAGE}template"  # Go template text
PROMPT = f"{_IMAGE}prompt"  # the same, of old
SYSTEM = f"{_IMAGE}system"
PARAMS = f"{_IMAGE}params"  # JSON object of options
MESSAGES = f"{_IMAGE}messages"  # JSON array
LICENSE = f"{_IMAGE}license"
TENSOR = f"{_IMAGE}tensor"  # one tensor of a model in safetensors
JSON = f"{_IMAGE}json"  # one of its files


@dataclass(frozen=True, slots=True)
class Layer:
    """A blob and what it is."""

    media_type: str
    digest: str  # 64 hex digits
    size: int  # bytes
    from_: str = ""  # the model it was taken from
    name: str = ""  # of the tensor or file

    @property
    def kind(self) -> str:
        """The last word of the media type: model, template, system, params, ..."""
        return self.media_type.rpartition(".")[2]

    def document(self) -> dict[str, object]:
        """As a manifest writes it."""
        own: dict[str, object] = {"mediaType": self.media_type, "digest": f"sha256:{self.digest}", "size": self.size}
        return own | ({"from": self.from_} if self.from_ else {}) | ({"name": self.name} if self.name else {})


@dataclass(frozen=True, slots=True)
class Draft:
    """The draft model in a config."""

    model_format: str = ""
    architecture: str = ""
    tensor_prefix: str = ""
    config: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """What the config blob says of a model. The order of the fields is that of its JSON."""

    model_format: str = "gguf"  # or safetensors
    model_family: str = ""  # architecture: llama, qwen2, ...
    model_families: tuple[str, ...] = ()
    model_type: str = ""  # "8.0B"
    file_type: str = ""  # "Q4_K_M"
    renderer: str = ""
    parser: str = ""
    requires: str = ""
    remote_host: str = ""
    remote_model: str = ""
    capabilities: tuple[str, ...] = ()
    context_length: int = 0
    embedding_length: int = 0
    base_name: str = ""
    draft: Draft | None = None
    architecture: str = "amd64"
    os: str = "linux"

    @classmethod
    def of(cls, document: Mapping[str, object]) -> Self:
        """From a config blob's JSON; fields of other types than they should have are as if they were not there."""
        own: dict[str, Any] = {}
        for each in fields(cls):
            value, default = document.get(each.name), each.default
            if isinstance(default, tuple) and isinstance(value, list):
                own[each.name] = tuple(str(item) for item in value)
            elif each.name == "draft" and isinstance(value, dict):
                texts = {part.name: value.get(part.name) for part in fields(Draft)}
                own["draft"] = Draft(**{name: text for name, text in texts.items() if isinstance(text, str)})
            elif isinstance(default, str | int) and type(value) is type(default):
                own[each.name] = value
        return cls(**{"model_format": "", **own})

    def to_bytes(self) -> bytes:
        """The blob: as Ollama writes it, what is empty is left out but for the fields that are always there."""
        always = ("model_format", "model_family", "model_families", "model_type", "file_type", "architecture", "os")
        own: dict[str, object] = {each.name: getattr(self, each.name) for each in fields(self)}
        if self.draft is not None:
            parts = {part.name: getattr(self.draft, part.name) for part in fields(self.draft)}
            own["draft"] = {name: value for name, value in parts.items() if value}
        own["model_families"] = self.model_families or None  # Go's empty list
        return go_json.encode({name: value for name, value in own.items() if value or name in always})


def manifest_bytes(config: Layer, layers: tuple[Layer, ...]) -> bytes:
    """A manifest as Ollama writes one that was made on this machine."""
    documents = [layer.document() for layer in layers]
    return go_json.encode(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config.document(), "layers": documents or None}
    )
