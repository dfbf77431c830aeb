"""Architectures: one short file each, which records the forward pass on a tape; and the model that runs it."""

from puna.models.forward import BLOCK_SIZE
from puna.models.model import ARCHITECTURES, MAX_TOKENS, Chunk, Model, blocks_for, load

__all__ = ["ARCHITECTURES", "BLOCK_SIZE", "MAX_TOKENS", "Chunk", "Model", "blocks_for", "load"]
