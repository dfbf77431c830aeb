"""`load`: a model file's tokenizer, whatever kind of file it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from puna.tokenizer.building import build
from puna.tokenizer.huggingface import EMBEDDED, load_embedded, load_folder
from puna.tokenizer.tokenizer import Tokenizer
from puna.tokenizer.vocabulary import read_vocabulary


class VocabularySource(Protocol):
    """What `load` needs of a `puna.gguf.ModelFile`."""

    @property
    def metadata(self) -> Mapping[str, Any]: ...

    @property
    def folder(self) -> Path | None: ...


def load(file: VocabularySource) -> Tokenizer:
    """The tokenizer of an open GGUF or Hugging Face folder. Raises `InvalidTokenizer`."""
    if file.folder is not None:
        return load_folder(file.folder)
    embedded = load_embedded(file.metadata) if EMBEDDED in file.metadata else None
    return embedded or build(read_vocabulary(file.metadata))
