"""Small models in a store, made by hand: any bytes will do where nothing runs them."""

from __future__ import annotations

import os

from puna.store import Store, layers, management
from puna.store.names import ModelName


def add_model(store: Store, name: str, *parts: bytes) -> bytes:
    """A model whose layers are `parts` (random bytes if none), under that name; gives its manifest."""
    with store.blobs.pinned() as blobs:
        config = blobs.add_bytes(b'{"model_format":"gguf"}', layers.CONFIG)
        own = tuple(blobs.add_bytes(part, layers.MODEL) for part in parts or (os.urandom(300_000), b"{}"))
        raw = layers.manifest_bytes(config, own)
        management.commit(store.root, ModelName.parse(name), raw)
    return raw
