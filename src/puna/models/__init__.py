"""Architectures: one short file each, which records the forward pass on a tape; and the model that runs it."""

from puna.models.adapters import Adapter, open_adapter, stacked_bytes
from puna.models.image_encoder import ImageEncoder, load_encoder
from puna.models.kv_cache import BLOCK_SIZE, KV_TYPES
from puna.models.model import ARCHITECTURES, MAX_TOKENS, Chunk, ImageRows, Model, blocks_for, configuration, load

__all__ = [
    "ARCHITECTURES",
    "BLOCK_SIZE",
    "KV_TYPES",
    "MAX_TOKENS",
    "Adapter",
    "Chunk",
    "ImageEncoder",
    "ImageRows",
    "Model",
    "blocks_for",
    "configuration",
    "load",
    "load_encoder",
    "open_adapter",
    "stacked_bytes",
]
