"""How much KV memory an engine gets: room for long contexts, within what the machine can spare.

Blocks cost memory only when they are first used, so it pays to have as many as there may ever be: a conversation
can grow to what the model was trained for without a reload, and earlier prefixes stay cached.
"""

from __future__ import annotations

from dataclasses import dataclass

from puna import hardware, models
from puna.gguf import ModelConfig
from puna.models import BLOCK_SIZE, KV_TYPES


@dataclass(frozen=True, slots=True)
class Capacity:
    """What to load a model with."""

    context: int  # most tokens of a sequence
    num_blocks: int  # shared by all sequences


def capacity(config: ModelConfig, kv_type: str, *, context: int, max_sequences: int, weights: int) -> Capacity:
    """At least one sequence of `context` tokens; beyond that no more than a share of the memory.

    That is a quarter of the machine's, and half of what is free when `weights` bytes are loaded. At most the trained
    context, and as many full contexts as there are sequences. A model that sees whole texts needs blocks for one step.
    """
    if not config.causal:
        longest = max(context, config.context_length)
        return Capacity(longest, models.blocks_for(longest) + models.MAX_TOKENS)
    room = spare_bytes(weights) // block_bytes(config, kv_type)
    longest = max(context, min(config.context_length, room * BLOCK_SIZE))
    return Capacity(longest, max(models.blocks_for(longest), min(room, max_sequences * models.blocks_for(longest))))


def spare_bytes(weights: int) -> int:
    """Memory for KV blocks beside `weights` bytes of a model that is not loaded yet."""
    memory = hardware.memory()
    return max(0, min(memory.total // 4, (memory.available - weights) // 2))


def block_bytes(config: ModelConfig, kv_type: str) -> int:
    """Bytes of a KV block, all layers together."""
    numbers = config.block_count * config.head_count_kv * (config.key_length + config.value_length) * BLOCK_SIZE
    return int(numbers * KV_TYPES[kv_type])
