"""What to fetch of a repository: which of its files, under which names. Knows nothing of networks.

The names are ours. A file of a repository is told by comparing its path with what such files are called; no part of
that path is used on this disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from puna.conversion.mixes import mix_named
from puna.errors import InvalidRequest, ModelNotFound, UnsupportedModel
from puna.store.sources import quantisations
from puna.store.sources.repository import RemoteFile, Repository

# What a model in safetensors is read from, beside its weights (`gguf.huggingface`, `conversion`).
_BESIDE = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "additional_chat_templates/tool_use.jinja",
    "additional_chat_templates/rag.jinja", "model.safetensors.index.json", "README.md",
)  # fmt: skip
# Files by which the owner of a repository says more than the GGUF does (huggingface/hub-docs, docs/hub/ollama.md).
TEXTS = ("template", "system", "params")

PROJECTOR = "mmproj.gguf"

_WEIGHTS = re.compile(r"model(?:-(\d{5})-of-(\d{5}))?\.safetensors")


@dataclass(frozen=True, slots=True)
class Plan:
    """Files by the names that they get here."""

    files: Mapping[str, RemoteFile]  # of the model and its projector
    texts: Mapping[str, RemoteFile] = field(default_factory=dict)  # of TEXTS
    quantize: str = ""  # the mix that an import is to have

    @property
    def size(self) -> int:
        """Bytes to fetch, where nothing is here yet."""
        return sum(file.size for file in (*self.files.values(), *self.texts.values()))

    @property
    def is_made(self) -> bool:
        """Whether the model is not one of the files, but made of them."""
        return "model.gguf" not in self.files

    @property
    def key(self) -> str | None:
        """Equal for plans that make equal models; None where a digest is not known before."""
        parts = {name: file.digest or file.git_digest for name, file in self.files.items()}
        if not all(parts.values()):
            return None
        return hashlib.sha256(json.dumps([sorted(parts.items()), self.quantize]).encode()).hexdigest()


def plan(repository: Repository, wanted: str | None) -> Plan:
    """GGUF where there is one, else safetensors, which will be imported (and quantised to what is wanted).

    Raises:
        ModelNotFound, InvalidRequest: what is wanted is not there, or could be several files.
        UnsupportedModel: the repository holds no model of these kinds.
    """
    variants = quantisations.variants(repository.files)
    if variants:
        chosen = quantisations.choose(variants, wanted, repository.title)
        count = len(chosen.shards)
        named = [f"model-{number:05}-of-{count:05}.gguf" for number in range(1, count + 1)]
        files = dict(zip(named if count > 1 else ["model.gguf"], chosen.shards, strict=True))
        if (projector := quantisations.projector(repository.files)) is not None:
            files[PROJECTOR] = projector
        texts = {name: file for name in TEXTS if (file := repository.file(name)) is not None}
        return Plan(files, texts)
    return _import(repository, wanted)


def _import(repository: Repository, wanted: str | None) -> Plan:
    weights = [file for file in repository.files if _WEIGHTS.fullmatch(file.path)]
    if not weights or repository.file("config.json") is None:
        pickled = any(file.path.endswith((".bin", ".pth", ".pt")) for file in repository.files)
        hint = "; what it holds is a pickle, which may run code when it is read" if pickled else ""
        raise UnsupportedModel(f"{repository.title} holds neither a GGUF file nor a model in safetensors{hint}")
    if wanted:
        try:
            wanted = mix_named(wanted).name
        except InvalidRequest as error:
            raise ModelNotFound(
                f"{repository.title} has no {wanted!r}, and as it has safetensors only, {error}"
            ) from None
    beside = [file for name in _BESIDE if (file := repository.file(name)) is not None]
    return Plan({_own_name(file.path): file for file in (*beside, *weights)}, quantize=wanted or "")


def _own_name(path: str) -> str:
    """One of _BESIDE or of the names that weights have, made anew."""
    found = _WEIGHTS.fullmatch(path)
    if found is None:
        return _BESIDE[_BESIDE.index(path)]
    return "model.safetensors" if found[1] is None else f"model-{int(found[1]):05}-of-{int(found[2]):05}.safetensors"
