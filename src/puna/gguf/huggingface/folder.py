"""Opens a Hugging Face folder: finds its weights and gives them GGUF's names, order and types.

What llama.cpp's convert_hf_to_gguf.py would write is what is seen here, tensor by tensor, but nothing is
converted before its data is asked for. Knows nothing of the tokenizer beyond its special tokens' numbers.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, ModelNotFound, UnsupportedModel
from puna.gguf.huggingface.architectures import ARCHITECTURES, COMPUTED_TENSORS, Architecture
from puna.gguf.huggingface.json_file import read_object
from puna.gguf.huggingface.metadata import hyperparameters, rope_frequency_factors
from puna.gguf.huggingface.safetensors import SafetensorsFile, StoredTensor, open_safetensors
from puna.gguf.huggingface.settings import Settings
from puna.gguf.huggingface.special_tokens import chat_templates, special_tokens
from puna.gguf.mapped import MappedModel
from puna.gguf.model_file import ModelFile, Tensor, Value
from puna.gguf.quants import dequantize
from puna.gguf.types import GGMLType

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_MAX_SHARDS = 10_000


def open_folder(path: Path) -> ModelFile:
    """Open a folder with config.json and safetensors.

    Raises ModelNotFound (no config.json), InvalidGGUF, and UnsupportedModel for other architectures, for
    quantised and for pickled weights.
    """
    if not (path / "config.json").is_file():
        raise ModelNotFound(f"{path}: no model folder: config.json is missing")
    raw = read_object(path / "config.json")
    config = Settings(raw, str(path / "config.json"))
    architecture = _architecture(config)
    metadata: dict[str, Value] = {
        "general.architecture": architecture.name,
        "general.name": path.resolve().name,
        **hyperparameters(config, architecture),
        **special_tokens(path, raw),
        **chat_templates(path),
    }
    files = _open_weights(path)
    tensors = _tensors(path, config, architecture, files)
    return MappedModel(path, metadata, tensors, [file.file for file in files], folder=path)


def _architecture(config: Settings) -> Architecture:
    names = config.get("architectures")
    name = names[0] if isinstance(names, list) and len(names) == 1 else names
    if isinstance(name, str) and name in ARCHITECTURES:
        return ARCHITECTURES[name]
    known = ", ".join(ARCHITECTURES)
    raise UnsupportedModel(f"{config.source}: the architecture {name!r:.80} is not supported; known are {known}")


def _open_weights(folder: Path) -> list[SafetensorsFile]:
    if (folder / INDEX).is_file():
        return _open_shards(folder)
    if (folder / SINGLE).is_file():
        return [open_safetensors(folder / SINGLE)]
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        raise UnsupportedModel(
            f"{folder}: the weights are pickled ({pickles[0]}), and unpickling a download runs whatever code "
            "it holds: get the model as safetensors or GGUF"
        )
    if (folder / "adapter_model.safetensors").is_file():
        raise UnsupportedModel(f"{folder}: an adapter (LoRA) without its model: merge the two first")
    raise InvalidGGUF(f"{folder}: no weights: {SINGLE} and {INDEX} are missing")


def _open_shards(folder: Path) -> list[SafetensorsFile]:
    """The files the index names, each in the folder itself, with the tensors it says."""
    source = folder / INDEX
    weight_map = read_object(source).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise InvalidGGUF(f"{source}: weight_map is missing or no map from tensors to files")
    names = sorted(set(weight_map.values()))
    if len(names) > _MAX_SHARDS:
        raise InvalidGGUF(f"{source}: {len(names)} files, the most we read is {_MAX_SHARDS}")
    files: dict[str, SafetensorsFile] = {}
    for number, name in enumerate(names, 1):
        if name != Path(name).name or not name.endswith(".safetensors") or "\0" in name:
            raise InvalidGGUF(f"{source}: {name!r:.80} is not the name of a safetensors file in this folder")
        if not (folder / name).is_file():
            raise InvalidGGUF(f"{folder}: shard {number} of {len(names)} is missing: {name}")
        files[name] = open_safetensors(folder / name)
    for tensor, name in weight_map.items():
        if tensor not in files[name].tensors and tensor not in files[name].ignored:
            raise InvalidGGUF(f"{source}: {tensor!r:.120} should be in {name}, and is not")
    return list(files.values())


def _tensors(
    folder: Path, config: Settings, architecture: Architecture, files: list[SafetensorsFile]
) -> dict[str, Tensor]:
    tied = config.flag("tie_word_embeddings", False)
    tensors: dict[str, Tensor] = {}
    for file in files:
        for name in [*file.tensors, *file.ignored]:
            if COMPUTED_TENSORS.fullmatch(name):
                continue
            gguf_name = architecture.gguf_name(name)
            if gguf_name is None:
                raise UnsupportedModel(f"{file.path}: the tensor {name!r:.120} has no place in {architecture.name}")
            if gguf_name in tensors:
                raise InvalidGGUF(f"{file.path}: the tensor {name!r:.120} is there twice")
            if tied and gguf_name == "output.weight":
                continue  # GGUF leaves it out: the token embedding serves
            tensors[gguf_name] = _as_gguf(file.require(name), gguf_name, config, architecture)
    _check_complete(folder, tensors, tied)
    factors = rope_frequency_factors(config)
    if factors is not None:
        read = partial(_rows_of, factors)
        tensors["rope_freqs.weight"] = Tensor("rope_freqs.weight", factors.shape, GGMLType.F32, read)
    return tensors


def _check_complete(folder: Path, tensors: dict[str, Tensor], tied: bool) -> None:
    needed = ["token_embd.weight", "output_norm.weight", *([] if tied else ["output.weight"])]
    for name in needed:
        if name not in tensors:
            raise InvalidGGUF(f"{folder}: the weights are incomplete: nothing becomes {name}")


def _as_gguf(stored: StoredTensor, name: str, config: Settings, architecture: Architecture) -> Tensor:
    """The tensor under its GGUF name: rows in llama.cpp's order, vectors (norms, biases) in F32."""
    if not 1 <= len(stored.shape) <= 4 or 0 in stored.shape:
        raise InvalidGGUF(f"{config.source}: the tensor {stored.name!r:.120} has the shape {stored.shape}")
    heads = _heads_to_permute(name, config, architecture)
    if heads is not None and (stored.shape[0] % (2 * heads) or len(stored.shape) > 2):
        raise InvalidGGUF(f"{config.source}: {stored.name}: {stored.shape} is not {heads} heads of even size")
    kind = GGMLType.F32 if len(stored.shape) == 1 else stored.type
    return Tensor(name, stored.shape, kind, partial(_read, stored, heads))


def _heads_to_permute(name: str, config: Settings, architecture: Architecture) -> int | None:
    part = name.split(".")[-2]
    if part not in architecture.permuted:
        return None
    return config.integer(architecture.permuted[part], config.integer("num_attention_heads"))


def _read(stored: StoredTensor, heads: int | None, first: int, last: int) -> NDArray[np.uint8]:
    if len(stored.shape) == 1:
        return _read_vector(stored, heads)
    if heads is None:
        return stored.read(first, last)
    size = stored.shape[0] // heads  # rows of a head: those wanted are taken out of whole heads
    begin, end = first // size, -(-last // size)
    rows = _interleave_halves(stored.read(begin * size, end * size), end - begin, size)
    return _bytes_of(rows[first - begin * size : last - begin * size])


def _read_vector(stored: StoredTensor, heads: int | None) -> NDArray[np.uint8]:
    """In F32."""
    values = dequantize(stored.read(0, 1), stored.type, stored.shape)
    return _bytes_of(values if heads is None else _interleave_halves(values, heads, len(values) // heads))


def _interleave_halves(flat: NDArray[Any], heads: int, size: int) -> NDArray[Any]:
    """In each head, rows 0 .. d/2-1 and d/2 .. d-1 become rows 0, 2, 4, ... and 1, 3, 5, ...; (rows, ...)."""
    halves = flat.reshape(heads, 2, size // 2, -1)
    return halves.swapaxes(1, 2).reshape(heads * size, -1)


def _rows_of(vector: NDArray[Any], _first: int, _last: int) -> NDArray[np.uint8]:
    """A vector is one row."""
    return _bytes_of(vector)


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    data.flags.writeable = False
    return data
