"""Model names in Ollama's grammar: `[scheme://][host/][namespace/]model[:tag]`. Knows nothing of files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from puna.errors import InvalidRequest

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

# The first character is never a dot, so no part can be `..` or a hidden file.
_PARTS = {
    "host": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}"),
    "namespace": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}"),
    "model": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
    "tag": re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"),
}


@dataclass(frozen=True, slots=True)
class ModelName:
    """A fully qualified name. Two names that differ only in case are the same model: compare with `same`."""

    host: str
    namespace: str
    model: str
    tag: str

    def __post_init__(self) -> None:
        for part, pattern in _PARTS.items():
            if not pattern.fullmatch(getattr(self, part)):
                raise InvalidRequest(f"invalid model name: {getattr(self, part)!r} cannot be its {part}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Fill in what is left out: registry.ollama.ai, library, latest.

        Raises:
            InvalidRequest: not a name.
        """
        rest = text.split("://", 1)[-1]
        path, colon, tag = rest.rpartition(":")
        if not colon or "/" in tag:  # that colon belongs to the host's port
            path, tag = rest, DEFAULT_TAG
        parts = path.split("/")
        if len(parts) > 3:
            raise InvalidRequest(f"invalid model name {text!r}: it has more than host/namespace/model:tag")
        host, namespace, model = [DEFAULT_HOST, DEFAULT_NAMESPACE][: 3 - len(parts)] + parts
        return cls(host, namespace, model, tag)

    def same(self, other: ModelName) -> bool:
        """Whether both name one model (case does not count)."""
        return self.parts(lower=True) == other.parts(lower=True)

    def parts(self, *, lower: bool = False) -> tuple[str, str, str, str]:
        """Host, namespace, model, tag."""
        parts = (self.host, self.namespace, self.model, self.tag)
        return tuple(part.lower() for part in parts) if lower else parts  # type: ignore[return-value]

    def __str__(self) -> str:
        """The shortest form that parses back to this name; the tag is always shown."""
        host = "" if self.host.lower() == DEFAULT_HOST else f"{self.host}/"
        namespace = f"{self.namespace}/" if host or self.namespace.lower() != DEFAULT_NAMESPACE else ""
        return f"{host}{namespace}{self.model}:{self.tag}"
