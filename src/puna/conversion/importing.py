"""A Hugging Face folder becomes a GGUF file, as llama.cpp's convert_hf_to_gguf.py would write it.

Tensors go from file to file some rows at a time; in other types by way of `quantizing`, which takes what `open_import`
gives. Knows nothing of stores.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from puna.conversion.mixes import MIXES
from puna.conversion.model_card import general_metadata
from puna.conversion.quantizing import QUANTIZATION_VERSION, Progress, quantize_model
from puna.conversion.vocabulary import is_vocabulary, vocabulary_metadata
from puna.errors import Cancelled, StoreError, UnsupportedModel
from puna.gguf import FILE_TYPES, GGMLType, GGUFWriter, ModelConfig, ModelFile, Tensor
from puna.gguf.huggingface import open_folder, open_peft

FLOATS = (GGMLType.F32, GGMLType.F16, GGMLType.BF16)
FILE_TYPE_NUMBERS = {kind: number for number, name in FILE_TYPES.items() for kind in FLOATS if kind.name == name}
PIECE = 1 << 22  # bytes of a tensor that are in memory at once


@dataclass(frozen=True, slots=True)
class Import:
    """A folder seen as the GGUF it becomes, tokenizer and all; `warnings` are what the user should know.

    Use it in a `with`, or close `file`.
    """

    file: ModelFile
    warnings: tuple[str, ...]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


def open_import(folder: Path) -> Import:
    """Open a folder for import: all metadata of the GGUF, tensors as they will be named, ordered and typed.

    Raises InvalidGGUF, InvalidTokenizer, UnsupportedModel or ModelNotFound.
    """
    file = open_folder(folder)
    vocabulary, warnings = vocabulary_metadata(folder, file.metadata, file.tensors["token_embd.weight"].shape[0])
    card, card_warnings = general_metadata(folder, file)
    kinds = {
        "general.file_type": FILE_TYPE_NUMBERS[_most_common_type(file.tensors.values())],
        "general.quantization_version": QUANTIZATION_VERSION,
    }
    # An architecture's keys come first, and the long vocabulary last: what reads only the beginning finds the model.
    metadata = {key: value for key, value in file.metadata.items() if not is_vocabulary(key)}
    metadata |= {**card, **kinds, **vocabulary}
    order = sorted(metadata, key=lambda key: (key.startswith("tokenizer."), not key.startswith("general.")))
    return Import(file.with_metadata({key: metadata[key] for key in order}), (*warnings, *card_warnings))


def import_folder(
    folder: Path,
    target: Path,
    floats: GGMLType | None = None,
    *,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> tuple[str, ...]:
    """Write the folder as the GGUF file `target`, which appears whole or not at all; returns what to warn of.

    floats: the type of all matrices, F32, F16 or BF16; None leaves each in the type it has. Norms and other vectors
        are F32 in any case.
    progress: called with the bytes written so far and in all, from this thread.

    Raises what `open_import` does, UnsupportedModel also for numbers that F16 cannot hold, Cancelled once the event is
    set, and StoreError when the file cannot be written.
    """
    if floats is not None and floats not in FLOATS:
        raise UnsupportedModel(f"import writes F32, F16 or BF16, not {floats.name}: quantise what it has written")
    with open_import(folder) as opened:
        if floats is None:
            _write(opened.file, target, progress, cancelled)
        else:
            quantize_model(opened.file, target, MIXES[floats.name], progress=progress, cancelled=cancelled)
        return opened.warnings


def import_adapter(
    folder: Path,
    base: ModelConfig,
    target: Path,
    *,
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
) -> None:
    """Write a PEFT folder with a LoRA adapter of such a model as the GGUF file `target`. Arguments as `import_folder`.

    Raises ModelNotFound, InvalidGGUF, UnsupportedModel, Cancelled, StoreError.
    """
    with open_peft(folder, base) as file:
        _write(file, target, progress, cancelled)


def _write(file: ModelFile, target: Path, progress: Progress | None, cancelled: threading.Event | None) -> None:
    """The file as it is."""
    writer = GGUFWriter()
    for key, value in file.metadata.items():
        writer.add(key, value)
    count = _Count(sum(tensor.nbytes for tensor in file.tensors.values()), progress, cancelled)
    for tensor in file.tensors.values():
        writer.add_tensor(tensor.name, tensor.shape, tensor.type, partial(_pieces, tensor, count))
    try:
        writer.write(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error


@dataclass(slots=True)
class _Count:
    """How much is written."""

    total: int
    progress: Progress | None
    cancelled: threading.Event | None
    done: int = field(default=0)

    def add(self, size: int) -> None:
        if self.cancelled is not None and self.cancelled.is_set():
            raise Cancelled("the import was cancelled")
        self.done += size
        if self.progress is not None:
            self.progress(self.done, self.total)


def _pieces(tensor: Tensor, count: _Count) -> Iterator[NDArray[np.uint8]]:
    """A tensor's bytes, some rows at a time."""
    step = max(1, PIECE * tensor.rows // tensor.nbytes)
    for first in range(0, tensor.rows, step):
        piece = tensor.read(first, min(first + step, tensor.rows))
        count.add(piece.nbytes)
        yield piece


def _most_common_type(tensors: Iterable[Tensor]) -> GGMLType:
    """The type of most of the numbers."""
    elements: Counter[GGMLType] = Counter()
    for tensor in tensors:
        elements[tensor.type] += tensor.elements
    return elements.most_common(1)[0][0]
