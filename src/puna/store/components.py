"""What the paths in a Modelfile lead to: model files, a folder to import, adapters, a draft model.

Opens whatever it is told to, so it is for the command line alone: a server takes blobs (`create`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from puna.errors import InvalidRequest, StoreError
from puna.store.modelfile import Modelfile

# Files of weights in the order in which a folder is searched for them, as in Ollama.
_SAFETENSORS = ("model*.safetensors", "consolidated*.safetensors")
_TORCH = ("pytorch_model*.bin", "consolidated*.pth")
_GGUF = ("*.gguf", "*.bin")
PEFT_CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Components:
    """Where a model is made from. Each path exists."""

    from_: str = ""  # a model's name
    folder: Path | None = None  # a Hugging Face folder, to be imported
    files: tuple[Path, ...] = field(default=())  # GGUF: the model, or its parts, and its projectors
    adapters: tuple[Path, ...] = ()  # GGUF, or a PEFT folder
    drafts: tuple[Path, ...] = ()


def gather(modelfile: Modelfile, folder: Path) -> Components:
    """Look up what FROM, ADAPTER and DRAFT name. Paths are relative to `folder`; `~` and `~user` are homes.

    Raises:
        InvalidRequest: a path leads to nothing that a model is made of, or several models are named.
        StoreError: it cannot be read.
    """
    from_, imported, files = "", [], []
    for instruction in modelfile.all("from"):
        path = _expanded(instruction.value, folder)
        if not path.exists():
            from_ = instruction.value
        elif path.is_dir() and not (found := _gguf_files(path)):
            imported.append(path)
        else:
            files += found if path.is_dir() else [path]
    if (from_ != "") + len(imported) + bool(files) > 1:
        raise InvalidRequest("FROM names several models: one, and beside it only GGUF files that belong to it")
    drafts = _existing(modelfile, "draft", folder)
    for path in drafts:
        if any(path.samefile(other) for other in (*files, *imported)):
            raise InvalidRequest(f"DRAFT must not reference the same local path as FROM: {path}")
    return Components(
        from_,
        imported[0] if imported else None,
        tuple(dict.fromkeys(files)),
        tuple(_existing(modelfile, "adapter", folder)[-1:]),
        tuple(drafts),
    )


def _existing(modelfile: Modelfile, name: str, folder: Path) -> list[Path]:
    """The files, or PEFT folders, that the instructions of that name lead to."""
    paths = [_expanded(instruction.value, folder) for instruction in modelfile.all(name)]
    for path in paths:
        if not path.exists():
            raise InvalidRequest(f"{name.upper()} {path}: no such file or folder")
    return [file for path in paths for file in (_only_gguf(name, path) if path.is_dir() else [path])]


def _only_gguf(name: str, folder: Path) -> list[Path]:
    if name == "adapter" and (folder / PEFT_CONFIG).is_file():
        return [folder]
    found = _gguf_files(folder)
    if not found:
        raise InvalidRequest(f"{name.upper()} {folder}: only GGUF files are possible here: convert it to GGUF first")
    return found


def _expanded(text: str, folder: Path) -> Path:
    try:
        return (folder / Path(text).expanduser()).absolute()
    except RuntimeError as error:  # of expanduser: no such user
        raise InvalidRequest(f"{text}: {error}") from None


def _gguf_files(folder: Path) -> list[Path]:
    """The GGUF files of a folder; none where it is to be imported.

    Raises:
        InvalidRequest: it holds no model.
    """
    try:
        if _first(folder, _SAFETENSORS):
            return []
        if torch := _first(folder, _TORCH):
            raise InvalidRequest(
                f"{torch[0]} is a pickle, which may run code when it is read: convert it to safetensors"
            )
        if found := _first(folder, _GGUF):
            return found
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}") from error
    raise InvalidRequest(
        f"no Modelfile or safetensors files found in {folder} (where a model of that name is meant, add its tag: "
        f"{folder.name}:latest)"
    )


def _first(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """The files of the first pattern that any file has."""
    for pattern in patterns:
        if found := sorted(path for path in folder.glob(pattern) if path.is_file()):
            return found
    return []
