"""From a name or a path to the files of a model. Reads only; it does not run, pull or change anything.

Four sources: `cria`, which is inside the package; `all-minilm`, where the extra `minilm` has brought it; any GGUF
file or Hugging Face folder; and, as they are, the models of an Ollama store.
"""

from __future__ import annotations

import builtins
import difflib
import hashlib
import importlib.resources
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from puna import paths
from puna.chat import Message
from puna.errors import InvalidRequest, ModelNotFound, PunaError, UnsupportedModel
from puna.gguf import ModelConfig, open_model
from puna.store import layers, manifest, minilm
from puna.store.blobs import Blobs
from puna.store.layers import Config, Layer
from puna.store.names import ModelName

_log = logging.getLogger(__name__)

CRIA = ModelName.parse("cria")


@dataclass(frozen=True, slots=True)
class Details:
    """What a list of models says about each."""

    family: str  # architecture: llama, qwen2, ...
    parameter_size: str  # "3.1M", "1.1B"
    quantization_level: str  # "Q8_0", "Q4_K_M"
    context_length: int | None = None  # trained, tokens
    embedding_length: int | None = None
    abilities: tuple[str, ...] = ()  # beyond answering: tools, thinking, insert; known once its template was read

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can be asked for, in Ollama's words. Encoders (BERT and its kin) only embed."""
        return ("embedding",) if "bert" in self.family else ("completion", *self.abilities)


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that is on this machine."""

    name: str  # shortest name with its tag, or the path
    path: Path  # a GGUF file or a Hugging Face folder
    # 64 hex digits: sha256 of the manifest; of the file for cria; for a path, of path, size and date, for its
    # bytes are too many to read.
    digest: str
    size: int  # bytes
    modified: datetime  # with time zone
    details: Details
    system: str | None = None  # the model's own system prompt
    parameters: Mapping[str, object] | None = None  # Ollama's option names
    messages: tuple[Message, ...] = ()  # example turns before the conversation
    licenses: tuple[str, ...] = ()
    template: str | None = None  # Go template text; None: only the file's own, in Jinja
    adapters: tuple[Path, ...] = ()  # LoRA, GGUF
    projectors: tuple[Path, ...] = ()  # GGUF
    draft: Path | None = None  # a small model of the same vocabulary, to propose tokens
    config: Config | None = None  # None: not from a manifest
    parent: str = ""  # the model that it was made from
    warnings: tuple[str, ...] = ()  # parts of the model that are not used

    @property
    def adapter(self) -> str:
        """The path of the adapter that the model runs with; empty: none."""
        return str(self.adapters[0]) if self.adapters else ""


class Store:
    """The models on this machine.

    Args:
        root: an Ollama store folder (PUNA_MODELS, OLLAMA_MODELS, else ~/.ollama/models); it need not exist.
        allow_paths: whether `resolve` takes paths (a server that others can reach should open none).
    """

    def __init__(self, root: Path | None = None, *, allow_paths: bool = True) -> None:
        self.root = paths.models_dir() if root is None else root
        self.blobs = Blobs(self.root)
        self.allow_paths = allow_paths

    def resolve(self, name_or_path: str) -> LocalModel:
        """The model of that name, or at that path.

        Raises:
            ModelNotFound: there is none; the message names what there is.
            InvalidRequest: neither a name nor a path.
            UnsupportedModel: a kind of model that cannot be run here.
            InvalidGGUF: the file at that path is damaged.
            StoreError: all-minilm's package is.
        """
        if not name_or_path.strip():
            raise InvalidRequest("model is required")
        if _looks_like_path(name_or_path):
            return self._at_path(name_or_path)
        try:
            name = ModelName.parse(name_or_path)
        except InvalidRequest:
            if self.allow_paths and Path(name_or_path).exists():
                return self._at_path(name_or_path)
            raise
        if stored := self._find(name):
            return stored
        if name.same(CRIA):
            return _cria()
        if minilm.is_minilm(name) and (folder := minilm.folder()):
            minilm.check(folder)
            return _minilm(folder)
        if self.allow_paths and Path(name_or_path).exists():
            return self._at_path(name_or_path)
        raise self.not_found(name_or_path)

    def list(self) -> list[LocalModel]:
        """Every named model, last modified first. A damaged one is logged and left out."""
        models = []
        stored = list(manifest.names(self.root))
        for name, path in stored:
            try:
                models.append(self._stored(name, path))
            except (PunaError, OSError) as error:
                _log.warning("left out of the list: %s: %s", name, error)
        if not any(CRIA.same(name) for name, _ in stored) and _cria_path().is_file():
            models.append(_cria())
        if not any(minilm.NAMES[0].same(name) for name, _ in stored) and (folder := minilm.folder()):
            models.append(_minilm(folder))
        return sorted(models, key=lambda model: model.modified, reverse=True)

    def _at_path(self, text: str) -> LocalModel:
        if not self.allow_paths:
            raise InvalidRequest("invalid model name: this server opens models by name only, not by path")
        path = Path(text).expanduser().absolute()
        if not path.exists():
            raise ModelNotFound(f"model {text!r} not found: there is no such file or folder")
        stat = path.stat()
        identity = f"{path.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()
        return LocalModel(
            name=str(path),
            path=path,
            digest=hashlib.sha256(identity).hexdigest(),
            size=_header(path, stat.st_mtime_ns)[1],
            modified=_local_time(stat.st_mtime),
            details=_header(path, stat.st_mtime_ns)[0],
        )

    def _find(self, name: ModelName) -> LocalModel | None:
        """A model of the store. One that another process replaces while it is read is read again."""
        while found := manifest.find(self.root, name):
            before = _identity(found[1])
            try:
                return self._stored(*found)
            except ModelNotFound:
                if _identity(found[1]) == before:
                    raise
        return None

    def _stored(self, name: ModelName, path: Path) -> LocalModel:
        read = manifest.read(path)
        document = _object(manifest.document(self.root, read.config))
        config = Config.of(document)
        _refuse_unsupported(name, read, config)
        model = self._files(read, layers.MODEL)[0]
        params = read.of(layers.PARAMS)
        drafts = self._files(read, layers.DRAFT)
        return LocalModel(
            name=str(name),
            path=model,
            digest=hashlib.sha256(read.raw).hexdigest(),
            size=read.size,
            modified=_local_time(read.modified),
            details=_config_details(config) or _header(model, model.stat().st_mtime_ns)[0],
            system="\n\n".join(self._texts(read, layers.SYSTEM)) or None,
            parameters=_object(manifest.document(self.root, params[0])) if params else None,
            messages=self._messages(read.of(layers.MESSAGES)),
            licenses=self._texts(read, layers.LICENSE),
            template=next(iter(self._texts(read, layers.TEMPLATE) + self._texts(read, layers.PROMPT)), None),
            adapters=self._files(read, layers.ADAPTER),
            projectors=self._files(read, layers.PROJECTOR),
            draft=drafts[0] if drafts else None,
            config=config,
            parent=read.of(layers.MODEL)[0].from_,
            warnings=_unused(read),
        )

    def _files(self, read: manifest.Manifest, media_type: str) -> tuple[Path, ...]:
        return tuple(self.blobs.file(layer.digest) for layer in read.of(media_type))

    def _texts(self, read: manifest.Manifest, media_type: str) -> tuple[str, ...]:
        return tuple(manifest.text(self.root, layer) for layer in read.of(media_type))

    def _messages(self, parts: Sequence[Layer]) -> tuple[Message, ...]:
        messages = []
        for layer in parts:
            turns = manifest.document(self.root, layer)
            if not isinstance(turns, builtins.list):
                raise UnsupportedModel(f"the example messages in {manifest.blob(self.root, layer)} are not a list")
            for turn in turns:
                fields = _object(turn)
                messages.append(Message(str(fields.get("role", "user")), str(fields.get("content", ""))))
        return tuple(messages)

    def not_found(self, text: str) -> ModelNotFound:
        """The error for a name that no model has: it tells which there are."""
        known = [str(name) for name, _ in manifest.names(self.root)]
        boxed = [CRIA, minilm.NAMES[0]] if minilm.folder() else [CRIA]
        known += [str(name) for name in boxed if str(name) not in known]
        short = {name.removesuffix(":latest"): name for name in known}
        close = [short[each] for each in difflib.get_close_matches(text.removesuffix(":latest"), short, n=3)]
        if any(text in (str(name), str(name).removesuffix(":latest")) for name in minilm.NAMES):
            return ModelNotFound(f"model {text!r} not found: {minilm.HOW_TO_GET}")
        here = f"did you mean {', '.join(close)}?" if close else f"the models here are {', '.join(known[:8])}"
        more = f" and {len(known) - 8} more" if not close and len(known) > 8 else ""
        return ModelNotFound(f"model {text!r} not found: {here}{more}")


def in_package(name: ModelName) -> str | None:
    """The Python package that has a model of that name, whatever the store has."""
    if name.same(CRIA):
        return "puna"
    return minilm.PACKAGE if minilm.is_minilm(name) and minilm.folder() else None


def _looks_like_path(text: str) -> bool:
    return (
        text.startswith(("/", "./", "../", "~", ".\\", "..\\")) or text in {".", ".."} or text.lower().endswith(".gguf")
    )


def _cria_path() -> Path:
    return Path(str(importlib.resources.files("puna").joinpath("data", "cria.gguf")))


def _cria() -> LocalModel:
    path = _cria_path()
    if not path.is_file():
        raise ModelNotFound(f"the model in the box is missing ({path}): install puna again")
    stat = path.stat()
    return LocalModel(
        name=str(CRIA),
        path=path,
        digest=_file_digest(path, stat.st_mtime_ns),
        size=stat.st_size,
        modified=_local_time(stat.st_mtime),
        details=_header(path, stat.st_mtime_ns)[0],
    )


def _minilm(folder: Path) -> LocalModel:
    stat = minilm.weights(folder).stat()
    details, size = _header(folder, stat.st_mtime_ns)
    return LocalModel(
        name=str(minilm.NAMES[0]),
        path=folder,
        digest=minilm.SHA256,
        size=size,
        modified=_local_time(stat.st_mtime),
        details=details,
        parameters={"num_ctx": minilm.CONTEXT},
    )


@lru_cache(maxsize=4)
def _file_digest(path: Path, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=64)
def _header(path: Path, _mtime_ns: int) -> tuple[Details, int]:
    """What the file's own header says, and the bytes of all its parts. Kept, for vocabularies are long."""
    file = open_model(path)
    try:
        config = ModelConfig.from_model(file)
        return Details(
            family=config.architecture,
            parameter_size=human_count(config.parameter_count),
            quantization_level=config.file_type,
            context_length=config.context_length,
            embedding_length=config.embedding_length,
        ), file.size
    finally:
        file.close()


def _config_details(config: Config) -> Details | None:
    if not (config.model_family and config.model_type and config.file_type):
        return None
    return Details(
        config.model_family,
        config.model_type,
        config.file_type,
        config.context_length or None,
        config.embedding_length or None,
    )


def _refuse_unsupported(name: ModelName, read: manifest.Manifest, config: Config) -> None:
    if config.remote_host:
        raise UnsupportedModel(f"{name} runs on {config.remote_host}, not on this machine: puna runs local models only")
    if not read.of(layers.MODEL):
        raise UnsupportedModel(
            f"{name} has no GGUF file (format {config.model_format or 'unknown'!r}): it cannot be run"
        )


def _unused(read: manifest.Manifest) -> tuple[str, ...]:
    count = len(read.of(layers.ADAPTER))
    return (f"only the first of the model's {count} adapters is used",) if count > 1 else ()


def _identity(path: Path) -> tuple[int, int] | None:
    """What differs once a file was replaced; None: it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise UnsupportedModel(f"a part of the model should be a JSON object, but is {str(value)[:40]!r}")
    return value


def _local_time(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, tz=UTC).astimezone()


def human_count(count: int) -> str:
    """1100048384 -> '1.1B', 3050000 -> '3.05M': the way Ollama writes parameter counts."""
    for unit, scale, digits in (("B", 10**9, 1), ("M", 10**6, 2), ("K", 10**3, 0)):
        if count >= scale:
            number = count / scale
            return f"{number:.0f}{unit}" if number == int(number) else f"{number:.{digits}f}{unit}"
    return str(count)
