"""What config.json says of attention heads. Knows no architecture."""

from __future__ import annotations

from puna.gguf.huggingface.architecture import Heads
from puna.gguf.huggingface.settings import Settings

_LONGEST = 1 << 14


def heads_of(config: Settings) -> Heads:
    """How many, and how long."""
    queries, length = config.integer("num_attention_heads"), head_length(config)
    keys = config.integer("num_key_value_heads", queries)
    if queries % keys:
        config.fail("num_key_value_heads", f"{keys} does not divide the {queries} heads")
    return Heads(queries, keys, length)


def head_length(config: Settings) -> int:
    """Elements of one attention head."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    if config.get("head_dim") is None and hidden % heads:
        config.fail("num_attention_heads", f"{heads} does not divide hidden_size, {hidden}")
    length = config.integer("head_dim", hidden // heads or None)
    if length > _LONGEST:
        config.fail("head_dim", f"heads of {length}, the most we read is {_LONGEST}")
    return length
