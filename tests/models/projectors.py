"""Projector files of the tiny LLaVA, as llama.cpp's converters write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from puna.gguf import GGMLType, GGUFWriter
from tests.models import tiny, tiny_llava
from tests.models.weight_types import fitting, stored

METADATA: dict[str, Any] = {
    "general.type": "mmproj",
    "clip.has_vision_encoder": True,
    "clip.projector_type": "mlp",
    "clip.use_gelu": False,
    "clip.vision.image_size": tiny_llava.VISION["image_size"],
    "clip.vision.patch_size": tiny_llava.VISION["patch_size"],
    "clip.vision.embedding_length": tiny_llava.VISION["hidden_size"],
    "clip.vision.feed_forward_length": tiny_llava.VISION["intermediate_size"],
    "clip.vision.block_count": tiny_llava.VISION["num_hidden_layers"] - 1,
    "clip.vision.attention.head_count": tiny_llava.VISION["num_attention_heads"],
    "clip.vision.attention.layer_norm_epsilon": tiny_llava.VISION["layer_norm_eps"],
    "clip.vision.image_mean": np.array(tiny_llava.MEAN, np.float32),
    "clip.vision.image_std": np.array(tiny_llava.DEVIATION, np.float32),
}
_SWAPPED = {"ffn_up": "ffn_down", "ffn_down": "ffn_up"}


def write_projector(
    path: Path, *, kind: GGMLType = GGMLType.F32, out: int = tiny.CONFIGS[tiny_llava.TEXT]["hidden_size"],
    swapped: bool = False, metadata: dict[str, Any] | None = None, tensors: tiny_llava.Weights | None = None,
) -> Path:  # fmt: skip
    """The file. out: numbers of a token's vector; swapped: with the names of old converters for the feed-forward."""
    writer = GGUFWriter("clip")
    for key, value in (METADATA | (metadata or {})).items():
        if value is not None:
            writer.add(key, value)
    for name, array in (tensors or tiny_llava.weights(out)).items():
        part = name.split(".")[-2]
        shown = name.replace(part, _SWAPPED.get(part, part)) if swapped else name
        chosen = fitting(kind, array.shape[-1]) if array.ndim == 2 else GGMLType.F32
        writer.add_tensor(shown, array.shape, chosen, stored(array, chosen))
    writer.write(path)
    return path
