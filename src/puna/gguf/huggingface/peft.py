"""A PEFT folder with a LoRA adapter (adapter_config.json, safetensors) read as if it were llama.cpp's GGUF of one.

The names are those of transformers' modules, and so the table of architectures says what becomes of them. Knows nothing
of how adapters are applied.
"""

from __future__ import annotations

import re
from functools import partial
from math import sqrt
from pathlib import Path

from puna.errors import InvalidGGUF, ModelNotFound, UnsupportedModel
from puna.gguf.config import ModelConfig
from puna.gguf.huggingface.architecture import Architecture, Heads, part_of
from puna.gguf.huggingface.architectures import ARCHITECTURES
from puna.gguf.huggingface.folder import read_rows
from puna.gguf.huggingface.json_file import read_object
from puna.gguf.huggingface.safetensors import StoredTensor, open_safetensors
from puna.gguf.huggingface.settings import Settings
from puna.gguf.mapped import MappedModel
from puna.gguf.model_file import Tensor, Value

_FACTOR = re.compile(r"base_model\.model\.(.{1,200})\.lora_([AB])\.weight")
_PLAIN: dict[str, tuple[object, ...]] = {  # settings that change what is computed, and what they may be
    "peft_type": ("LORA",),
    "use_dora": (None, False),
    "fan_in_fan_out": (None, False),
    "bias": (None, "none"),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layer_replication": (None,),
}


def open_peft(folder: Path, base: ModelConfig) -> MappedModel:
    """Open an adapter of a model of that configuration. Raises ModelNotFound, InvalidGGUF, UnsupportedModel."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise ModelNotFound(f"{folder}: no adapter: adapter_config.json is missing")
    config = Settings(read_object(path), str(path))
    for key, allowed in _PLAIN.items():
        if config.get(key) not in allowed:
            raise UnsupportedModel(f"{path}: {key} is {config.get(key)!r:.80}, which is not supported")
    if not (folder / "adapter_model.safetensors").is_file():
        raise UnsupportedModel(f"{folder}: adapter_model.safetensors is missing; pickled weights are not read")
    file = open_safetensors(folder / "adapter_model.safetensors")
    rank, alpha = config.integer("r"), config.number("lora_alpha")
    metadata: dict[str, Value] = {
        "general.type": "adapter",
        "general.architecture": base.architecture,
        "adapter.type": "lora",
        # The factor is alpha / rank, or, stabilised (Kalajdzievski 2023), alpha / sqrt(rank).
        "adapter.lora.alpha": alpha * sqrt(rank) if config.flag("use_rslora", False) else alpha,
    }
    tensors: dict[str, Tensor] = {}
    for name in [*file.tensors, *file.ignored]:
        found = _FACTOR.fullmatch(name)
        if found is None:
            raise UnsupportedModel(f"{file.path}: {name!r:.120} is no factor of LoRA's")
        tensor = _factor(file.require(name), f"{found[1]}.weight", found[2].lower(), base)
        tensors[tensor.name] = tensor
    return MappedModel(folder, metadata, tensors, [file.file], folder=folder)


def _factor(stored: StoredTensor, module: str, which: str, base: ModelConfig) -> Tensor:
    """Under GGUF's name; the rows of B in the order of the model's."""
    architecture, name = _place(stored, module, base)
    if len(stored.shape) != 2 or 0 in stored.shape:
        raise InvalidGGUF(f"{stored.name}: {stored.shape} is no matrix")
    order_of = architecture.rows.get(part_of(name)) if which == "b" else None
    read = stored.read
    if order_of is not None:
        order = order_of(Heads(base.head_count, base.head_count_kv, base.key_length))
        if len(order) != stored.shape[0]:
            raise InvalidGGUF(f"{stored.name}: {stored.shape[0]} rows do not fit {base.head_count} heads")
        read = partial(read_rows, stored, order)
    full = f"{name}.lora_{which}"
    return Tensor(full, stored.shape, stored.type, read)


def _place(stored: StoredTensor, module: str, base: ModelConfig) -> tuple[Architecture, str]:
    """The first of the architectures of that name in GGUF which has such a module."""
    for architecture in ARCHITECTURES.values():
        names = architecture.gguf_names(module) if architecture.name == base.architecture else ()
        if len(names) == 1 and part_of(names[0]) not in architecture.transposed:
            return architecture, names[0]
    raise UnsupportedModel(f"{stored.name}: adapters of this module of {base.architecture} are not supported")
