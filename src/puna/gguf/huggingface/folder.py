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
from puna.gguf.huggingface import encoders
from puna.gguf.huggingface.architecture import Architecture, Order, part_of
from puna.gguf.huggingface.architectures import ARCHITECTURES, COMPUTED_TENSORS
from puna.gguf.huggingface.encoders import ENCODERS, Encoder
from puna.gguf.huggingface.heads import heads_of
from puna.gguf.huggingface.json_file import read_object
from puna.gguf.huggingface.metadata import hyperparameters
from puna.gguf.huggingface.pooling import RANK, pooling_type
from puna.gguf.huggingface.rope import rope_factors
from puna.gguf.huggingface.safetensors import SafetensorsFile, StoredTensor, open_safetensors
from puna.gguf.huggingface.settings import Settings
from puna.gguf.huggingface.special_tokens import chat_templates, special_tokens
from puna.gguf.huggingface.stacking import EXPERT, stacked
from puna.gguf.mapped import MappedModel
from puna.gguf.model_file import Tensor, Value
from puna.gguf.quants import dequantize
from puna.gguf.types import GGMLType

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
_MAX_SHARDS = 10_000


def open_folder(path: Path) -> MappedModel:
    """Open a folder with config.json and safetensors.

    Raises ModelNotFound (no config.json), InvalidGGUF, and UnsupportedModel for other architectures, for
    quantised and for pickled weights.
    """
    if not (path / "config.json").is_file():
        raise ModelNotFound(f"{path}: no model folder: config.json is missing")
    raw = read_object(path / "config.json")
    config = Settings(raw, str(path / "config.json"))
    kind = _class(config)
    if isinstance(kind, str) and kind in ENCODERS:
        return _open_encoder(path, config, ENCODERS[kind])
    architecture = _architecture(config)
    config = config.over(architecture.defaults).called(architecture.settings)
    config = config.under(architecture.derived(config))
    metadata: dict[str, Value] = {
        "general.architecture": architecture.name,
        "general.name": path.resolve().name,
        **hyperparameters(config, architecture),
        **_pooling(architecture.name, pooling_type(path)),
        **special_tokens(path, raw),
        **chat_templates(path),
    }
    files = _open_weights(path)
    tensors = _tensors(path, config, architecture, files)
    return MappedModel(path, metadata, tensors, [file.file for file in files], folder=path)


def _open_encoder(path: Path, config: Settings, encoder: Encoder) -> MappedModel:
    metadata: dict[str, Value] = {
        "general.architecture": encoder.name,
        "general.name": path.resolve().name,
        **encoders.hyperparameters(config, encoder),
        **_pooling(encoder.name, RANK if encoder.ranks else pooling_type(path)),
        **special_tokens(path, dict(config.values)),
    }
    files = _open_weights(path)
    return MappedModel(
        path, metadata, encoders.tensors(config, encoder, files), [file.file for file in files], folder=path
    )


def _pooling(architecture: str, kind: int | None) -> dict[str, Value]:
    return {} if kind is None else {f"{architecture}.pooling_type": kind}


def _class(config: Settings) -> object:
    """The class in transformers: a name, unless the file is wrong."""
    names = config.get("architectures")
    return names[0] if isinstance(names, list) and len(names) == 1 else names


def _architecture(config: Settings) -> Architecture:
    name = _class(config)
    if isinstance(name, str) and name in ARCHITECTURES:
        return ARCHITECTURES[name]
    known = ", ".join((*ARCHITECTURES, *ENCODERS))
    raise UnsupportedModel(
        f"{config.source}: the architecture {name!r:.80} is not one of those that Puna runs ({known}): "
        "as a GGUF file, llama.cpp may run it"
    )


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
    tied = config.flag("tie_word_embeddings", architecture.tied)
    tensors: dict[str, Tensor] = {}
    stacks: dict[str, dict[int, Tensor]] = {}
    for file in files:
        for name in [*file.tensors, *file.ignored]:
            if COMPUTED_TENSORS.fullmatch(name):
                continue
            gguf_names = architecture.gguf_names(name)
            if not gguf_names:
                raise UnsupportedModel(f"{file.path}: the tensor {name!r:.120} has no place in {architecture.name}")
            for gguf_name in gguf_names:
                expert = EXPERT.search(name)
                if expert is not None:
                    experts = stacks.setdefault(gguf_name, {})
                    experts[int(expert[1])] = _as_gguf(file.require(name), gguf_name, config, architecture)
                    continue
                if gguf_name in tensors:
                    raise InvalidGGUF(f"{file.path}: the tensor {name!r:.120} is there twice")
                if tied and gguf_name == "output.weight":
                    continue  # GGUF leaves it out: the token embedding serves
                tensors[gguf_name] = _as_gguf(file.require(name), gguf_name, config, architecture)
    tensors |= {name: stacked(name, experts, config) for name, experts in stacks.items()}
    tensors = architecture.rearrange(tensors, config)
    _check_complete(folder, tensors, tied)
    for name, factors in rope_factors(config, architecture).items():
        tensors[name] = Tensor(name, factors.shape, GGMLType.F32, partial(_rows_of, factors))
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
    part = part_of(name)
    order = _order(stored, part, config, architecture)
    if len(stored.shape) == 1 or (part in architecture.flat and stored.shape[0] == 1):
        shift = 1.0 if architecture.norms_less_one and name.endswith("norm.weight") else 0.0
        length = stored.shape[-1] if order is None else len(order)
        return Tensor(name, (length,), GGMLType.F32, partial(_read_vector, stored, order, shift))
    if part in architecture.transposed and len(stored.shape) == 2:
        return Tensor(name, stored.shape[::-1], stored.type, partial(_read_columns, stored))
    if order is None:
        return Tensor(name, stored.shape, stored.type, stored.read)
    return Tensor(name, (len(order), *stored.shape[1:]), stored.type, partial(read_rows, stored, order))


def _order(stored: StoredTensor, part: str, config: Settings, architecture: Architecture) -> Order | None:
    """Of the stored rows; None for as they are."""
    if part not in architecture.rows:
        return None
    heads = heads_of(config)
    joint = len(architecture.gguf_names(stored.name)) > 1
    if stored.shape[0] != heads.rows("attn_qkv" if joint else part) or len(stored.shape) > 2:
        counts = f"{heads.queries} heads of {heads.length} ({heads.keys} of keys)"
        raise InvalidGGUF(f"{config.source}: {stored.name}: {stored.shape} does not fit {counts}")
    return architecture.rows[part](heads)


def read_rows(stored: StoredTensor, order: Order, first: int, last: int) -> NDArray[np.uint8]:
    """Those that the order names: they lie close together, in the same few heads."""
    chosen = order[first:last]
    lowest = int(chosen.min())
    rows = stored.read(lowest, int(chosen.max()) + 1).reshape(-1, stored.row_bytes)
    return _bytes_of(rows[chosen - lowest])


def _read_columns(stored: StoredTensor, first: int, last: int) -> NDArray[np.uint8]:
    """Columns as rows: of each stored row a few numbers, and so the file is gone through for each few rows."""
    size = stored.type.type_size
    rows = stored.read(0, stored.shape[0]).reshape(stored.shape[0], stored.shape[1], size)
    return _bytes_of(rows[:, first:last].swapaxes(0, 1))


def _read_vector(stored: StoredTensor, order: Order | None, shift: float, _first: int, _last: int) -> NDArray[np.uint8]:
    """In F32."""
    values = dequantize(stored.read(0, 1), stored.type, stored.shape[-1:])
    return _bytes_of((values if order is None else values[order]) + np.float32(shift))


def _rows_of(vector: NDArray[Any], _first: int, _last: int) -> NDArray[np.uint8]:
    """A vector is one row."""
    return _bytes_of(vector)


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    data.flags.writeable = False
    return data
