"""Opens whatever a path points to: a GGUF file or a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from puna.errors import ModelNotFound
from puna.gguf.model_file import ModelFile
from puna.gguf.reader import open_gguf


def open_model(path: Path) -> ModelFile:
    """Open a GGUF (the first shard of a split file, or any other, opens all) or a Hugging Face folder.

    Raises InvalidGGUF, UnsupportedModel or ModelNotFound.
    """
    if path.is_dir():
        from puna.gguf.huggingface import open_folder

        return open_folder(path)
    if not path.exists():
        raise ModelNotFound(f"no such file or folder: {path}")
    return open_gguf(path)
