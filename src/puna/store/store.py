"""From a name or a path to the files of a model. Reads only; it does not run, pull or change anything.

Three sources: `cria`, which is inside the package; any GGUF file or Hugging Face folder; and, as they are,
the models of an Ollama store.
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
from puna.store import manifest
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

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can be asked for, in Ollama's words. Encoders (BERT and its kin) only embed."""
        return ("embedding",) if "bert" in self.family else ("completion",)


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
    warnings: tuple[str, ...] = ()  # parts of the model that are not used


class Store:
    """The models on this machine.

    Args:
        root: an Ollama store folder (PUNA_MODELS, OLLAMA_MODELS, else ~/.ollama/models); it need not exist.
        allow_paths: whether `resolve` takes paths (a server that others can reach should open none).
    """

    def __init__(self, root: Path | None = None, *, allow_paths: bool = True) -> None:
        self.root = paths.models_dir() if root is None else root
        self.allow_paths = allow_paths

    def resolve(self, name_or_path: str) -> LocalModel:
        """The model of that name, or at that path.

        Raises:
            ModelNotFound: there is none; the message names what there is.
            InvalidRequest: neither a name nor a path.
            UnsupportedModel: a kind of model that cannot be run here.
            InvalidGGUF: the file at that path is damaged.
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
        for known, path in manifest.names(self.root):
            if name.same(known):
                return self._stored(known, path)
        if name.same(CRIA):
            return _cria()
        if self.allow_paths and Path(name_or_path).exists():
            return self._at_path(name_or_path)
        raise self._not_found(name_or_path)

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

    def _stored(self, name: ModelName, path: Path) -> LocalModel:
        read = manifest.read(path)
        layers = {
            kind: [layer for layer in read.layers if layer.kind == kind] for kind in {x.kind for x in read.layers}
        }
        config = _object(manifest.document(self.root, read.config))
        _refuse_unsupported(name, layers, config)
        model = manifest.blob(self.root, layers["model"][0])
        return LocalModel(
            name=str(name),
            path=model,
            digest=hashlib.sha256(read.raw).hexdigest(),
            size=read.size,
            modified=_local_time(path.stat().st_mtime),
            details=_config_details(config) or _header(model, model.stat().st_mtime_ns)[0],
            system="\n\n".join(manifest.text(self.root, layer) for layer in layers.get("system", ())) or None,
            parameters=_object(manifest.document(self.root, layers["params"][0])) if "params" in layers else None,
            messages=self._messages(layers.get("messages", ())),
            licenses=tuple(manifest.text(self.root, layer) for layer in layers.get("license", ())),
            warnings=_unused(layers),
        )

    def _messages(self, layers: Sequence[manifest.Layer]) -> tuple[Message, ...]:
        messages = []
        for layer in layers:
            turns = manifest.document(self.root, layer)
            if not isinstance(turns, builtins.list):
                raise UnsupportedModel(f"the example messages in {manifest.blob(self.root, layer)} are not a list")
            for turn in turns:
                fields = _object(turn)
                messages.append(Message(str(fields.get("role", "user")), str(fields.get("content", ""))))
        return tuple(messages)

    def _not_found(self, text: str) -> ModelNotFound:
        known = [str(name) for name, _ in manifest.names(self.root)]
        known += [] if str(CRIA) in known else [str(CRIA)]
        close = difflib.get_close_matches(text, known, n=3, cutoff=0.6)
        here = f"did you mean {', '.join(close)}?" if close else f"the models here are {', '.join(known[:8])}"
        more = f" and {len(known) - 8} more" if not close and len(known) > 8 else ""
        return ModelNotFound(f"model {text!r} not found: {here}{more}")


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


def _config_details(config: Mapping[str, object]) -> Details | None:
    family, parameters, quantization = (config.get(key) for key in ("model_family", "model_type", "file_type"))
    if not (isinstance(family, str) and isinstance(parameters, str) and isinstance(quantization, str)):
        return None
    context, embedding = config.get("context_length"), config.get("embedding_length")
    return Details(
        family,
        parameters,
        quantization,
        context if isinstance(context, int) else None,
        embedding if isinstance(embedding, int) else None,
    )


def _refuse_unsupported(name: ModelName, layers: Mapping[str, object], config: Mapping[str, object]) -> None:
    if config.get("remote_host"):
        raise UnsupportedModel(
            f"{name} runs on {config['remote_host']}, not on this machine: puna runs local models only"
        )
    if "adapter" in layers:
        raise UnsupportedModel(f"{name} is a LoRA adapter over another model: adapters are not supported yet")
    if "model" not in layers:
        raise UnsupportedModel(
            f"{name} has no GGUF file (format {config.get('model_format', 'unknown')!r}): it cannot be run"
        )


def _unused(layers: Mapping[str, object]) -> tuple[str, ...]:
    warnings = []
    if "template" in layers or "prompt" in layers:
        warnings.append("the model's Go template is not used: prompts follow the chat template inside the GGUF file")
    if "projector" in layers:
        warnings.append("the model's image projector is not used: it answers to text only")
    return tuple(warnings)


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
