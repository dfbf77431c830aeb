"""What a text given to `pull` names: a model at a registry, a repository of a hub, a file at a URL, files on this disk.

Reads no file and asks no host; only whether a path exists is looked up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias
from urllib.parse import unquote, urlsplit

from puna.errors import InvalidRequest
from puna.store.names import DEFAULT_NAMESPACE, DEFAULT_TAG, ModelName
from puna.store.sources.quantisations import label_of

HUB_HOSTS = ("hf.co", "huggingface.co")
MODELSCOPE_HOSTS = ("modelscope.cn", "www.modelscope.cn")

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


@dataclass(frozen=True, slots=True)
class AtRegistry:
    """A name that a registry knows."""

    name: ModelName


@dataclass(frozen=True, slots=True)
class InRepository:
    """A repository of a hub, and which of its files."""

    hub: Literal["huggingface", "modelscope"]
    name: ModelName  # what it is kept as: host/user/repository:tag
    wanted: str | None = None  # a quantisation, or a file's path in the repository
    revision: str | None = None  # branch, tag or commit

    @property
    def repository(self) -> str:
        """`user/repository`."""
        return f"{self.name.namespace}/{self.name.model}"


@dataclass(frozen=True, slots=True)
class AtUrl:
    """One GGUF file at an address."""

    url: str
    name: ModelName


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A GGUF file or a folder of this machine."""

    path: Path
    name: ModelName


Origin: TypeAlias = AtRegistry | InRepository | AtUrl | OnDisk


def source_of(text: str, *, allow_paths: bool = True) -> Origin:
    """Where the model of that text comes from.

    `hf.co/user/repo[@revision][:quantisation]` (and huggingface.co, modelscope.cn), `https://host/file.gguf`, the
    address of a page or file of a hub, a path that is written as one (`./x`, `/x`, `x.gguf`), or else a name.

    Raises:
        InvalidRequest: none of these.
    """
    text = text.strip()
    if "\0" in text:
        raise InvalidRequest(f"{text!r} holds a null character: neither a path nor a name may")
    if allow_paths and looks_like_path(text):
        on_disk = _absolute(text)
        return OnDisk(on_disk, name_of_path(on_disk))
    scheme, mark, rest = text.partition("://")
    if not mark:
        return _named(text)
    if scheme.lower() not in ("http", "https"):
        raise InvalidRequest(f"{text!r}: only http:// and https:// addresses can be pulled from")
    host, _, path = rest.partition("/")
    try:
        parts = urlsplit(text)
        at_port = f"{parts.hostname or ''}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError as error:
        raise InvalidRequest(f"{text!r} is no address: {error}") from None
    page = _hub_page(host.lower(), unquote(parts.path))
    if page is not None:
        return page
    if parts.path.lower().endswith(".gguf"):
        return AtUrl(text, _name_of_url(at_port, unquote(parts.path)))
    return _named(f"{host}/{path}")


def looks_like_path(text: str) -> bool:
    """Whether the text is written as a path: `./x`, `../x`, `/x`, `~/x`, `C:\\x`, or a GGUF file that is here."""
    if "://" in text:
        return False
    if text.startswith(("/", "./", "../", "~")) or text in (".", "..") or re.match(r"[A-Za-z]:[\\/]|\.{0,2}\\", text):
        return True
    return text.lower().endswith(".gguf") and Path(text).is_file()


def name_of_path(path: Path) -> ModelName:
    """`folder/Qwen3-0.6B-Q8_0.gguf` is kept as `Qwen3-0.6B:Q8_0`; a folder as its own name."""
    stem = path.name[: -len(".gguf")] if path.name.lower().endswith(".gguf") else path.name
    return _split(ModelName.parse("x"), stem)


def _named(text: str) -> AtRegistry | InRepository:
    """Ollama's grammar; a hub's names may carry `@revision` too."""
    host = text.partition("/")[0].lower()
    return _in_hub(text, host) if host in HUB_HOSTS + MODELSCOPE_HOSTS else AtRegistry(ModelName.parse(text))


def _in_hub(text: str, host: str) -> InRepository:
    """`host/user/repository[@revision][:wanted]`."""
    repository, at, rest = text.partition("@")
    if not at:
        name = ModelName.parse(text)
        return InRepository(_hub(host), name, _wanted(name.tag))
    revision, _, wanted = rest.partition(":")
    if not revision:
        raise InvalidRequest(f"{text!r}: a branch, a tag or a commit must follow the @")
    name = ModelName.parse(repository)
    tag = "-".join(filter(None, (wanted, _tag(revision[:12]))))
    return InRepository(_hub(host), ModelName(name.host, name.namespace, name.model, tag), wanted or None, revision)


def _hub_page(host: str, path: str) -> InRepository | None:
    """`huggingface.co/user/repository[/resolve|blob|tree/revision[/file]]`; ModelScope's (`/models/...`) likewise."""
    if host not in HUB_HOSTS + MODELSCOPE_HOSTS:
        return None
    parts = [part for part in path.split("/") if part]
    if host in MODELSCOPE_HOSTS and parts[:1] == ["models"]:
        parts = parts[1:]
    if parts[2:4] == ["file", "view"]:
        parts[2:4] = ["blob"]
    if len(parts) < 4 or parts[2] not in ("resolve", "blob", "tree"):
        return _in_hub(f"{host}/{'/'.join(parts[:2])}", host)
    revision, file = parts[3], "/".join(parts[4:])
    tag = (label_of(file) or _tag(PurePosixPath(file).stem)) if file else DEFAULT_TAG
    name = ModelName(host, parts[0], parts[1], tag)
    return InRepository(_hub(host), name, file or None, None if revision in ("main", "master") else revision)


def _hub(host: str) -> Literal["huggingface", "modelscope"]:
    return "huggingface" if host in HUB_HOSTS else "modelscope"


def _wanted(tag: str) -> str | None:
    return None if tag.lower() == DEFAULT_TAG else tag


def _absolute(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError as error:  # no such user
        raise InvalidRequest(f"{text!r}: {error}") from None


def _name_of_url(host: str, path: str) -> ModelName:
    """`https://host/a/b/Model-Q8_0.gguf` is kept as `host/library/Model:Q8_0`: never over a model of a registry."""
    if not host:
        raise InvalidRequest("the address names no host")
    stem = PurePosixPath(path).name[: -len(".gguf")]
    return _split(ModelName(_tag(host, keep=":"), DEFAULT_NAMESPACE, "x", DEFAULT_TAG), stem)


def _split(name: ModelName, stem: str) -> ModelName:
    """The file's name without its quantisation, which becomes the tag."""
    stem = _SHARD.sub("", stem)
    label = label_of(stem)
    model = stem if label is None else re.sub(rf"[-._]?{re.escape(label)}$", "", stem, flags=re.IGNORECASE)
    return replace(name, model=_tag(model or stem), tag=label or DEFAULT_TAG)


def _tag(text: str, keep: str = "") -> str:
    """The text with what a name cannot hold replaced, at most 80 characters."""
    cleaned = re.sub(rf"[^A-Za-z0-9_.{keep}-]", "-", text)[:80]
    return cleaned.lstrip("-.:") or "model"
