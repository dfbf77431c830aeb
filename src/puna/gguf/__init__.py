"""Model files: GGUF and Hugging Face folders to metadata, tensors, a typed configuration; and back to GGUF.

with open_model(Path("model.gguf")) as file:
    config = ModelConfig.from_model(file)
    table = file.tensors["token_embd.weight"]
    numbers = dequantize(table.data, table.type, table.shape)
"""

from __future__ import annotations

from puna.gguf.config import ExpertsConfig, LatentConfig, ModelConfig, RopeConfig
from puna.gguf.model_file import ModelFile, Tensor, Value
from puna.gguf.opening import open_model
from puna.gguf.quants import QUANTIZABLE, dequantize, quantize
from puna.gguf.types import FILE_TYPES, GGMLType, ValueType
from puna.gguf.vision import VisionConfig
from puna.gguf.writer import GGUFWriter

__all__ = [
    "FILE_TYPES",
    "QUANTIZABLE",
    "ExpertsConfig",
    "GGMLType",
    "GGUFWriter",
    "LatentConfig",
    "ModelConfig",
    "ModelFile",
    "RopeConfig",
    "Tensor",
    "Value",
    "ValueType",
    "VisionConfig",
    "dequantize",
    "open_model",
    "quantize",
]
