"""A tiny LLaVA for the oracles: a CLIP tower and a projector before the tiny llama, weights drawn from a seed by name.

As `tiny` has them for models of text. Pictures are drawn too. Imports nothing of Puna.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.models import tiny

TEXT = "llama"  # of `tiny`: 128 numbers a token
IMAGE_TOKEN = 255  # transformers' placeholder
ROWS = 36  # that an image takes

VISION: dict[str, Any] = {
    "model_type": "clip_vision_model",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 84,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
CONFIG: dict[str, Any] = {
    "model_type": "llava",
    "vision_config": VISION,
    "text_config": tiny.CONFIGS[TEXT],
    "image_token_index": IMAGE_TOKEN,
    "image_seq_length": ROWS,
    "projector_hidden_act": "gelu",
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
}
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PICTURES = {"wide": (130, 61), "tall": (50, 97), "small": (20, 20)}  # width and height
BEFORE, AFTER = 30, 14  # tokens of the prompt around the image
SHOWN = tuple(range(0, ROWS, 5))  # the image's vectors that the golden holds
SHOWN_LOGITS = 4  # of the last tokens

Weights = dict[str, NDArray[np.float32]]


def prompt() -> list[int]:
    """Token ids, the image's places among them."""
    ids = tiny.prompt(TEXT)
    return [*ids[:BEFORE], *([IMAGE_TOKEN] * ROWS), *ids[BEFORE : BEFORE + AFTER]]


def picture(name: str) -> NDArray[np.uint8]:
    """Smooth colours, (height, width, 3): no two pictures are alike."""
    width, height = PICTURES[name]
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (7 + i) + len(name)) * np.cos(y / (11 - i)) for i in range(3)]
    return np.stack([(wave + 1) * 127.5 for wave in waves], axis=-1).astype(np.uint8)


def png(name: str) -> bytes:
    """The same as a file."""
    file = io.BytesIO()
    Image.fromarray(picture(name)).save(file, "PNG")
    return file.getvalue()


def weights(out: int = tiny.CONFIGS[TEXT]["hidden_size"]) -> Weights:
    """Of the tower and the projector, under the names that llama.cpp gives them. out: numbers of a token's vector."""
    width, feed, size = VISION["hidden_size"], VISION["intermediate_size"], VISION["patch_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "v.class_embd": (width,),
        "v.patch_embd.weight": (width, 3, size, size),
        "v.position_embd.weight": (ROWS + 1, width),
        **_norm("v.pre_ln", width),
        **_linear("mm.0", out, width),
        **_linear("mm.2", out, out),
    }
    for layer in range(VISION["num_hidden_layers"] - 1):  # the last one is not wanted
        at = f"v.blk.{layer}."
        for part in ("q", "k", "v", "out"):
            shapes |= _linear(f"{at}attn_{part}", width, width)
        shapes |= _linear(f"{at}ffn_up", feed, width) | _linear(f"{at}ffn_down", width, feed)
        shapes |= _norm(f"{at}ln1", width) | _norm(f"{at}ln2", width)
    return {name: _draw(name, shape) for name, shape in shapes.items()}


def _linear(name: str, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _draw(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.asarray(tiny._random(f"llava {name}").standard_normal(shape))
    if "ln" in name and name.endswith(".weight"):
        values = 1 + 0.2 * values
    elif len(shape) > 1 and "position" not in name:
        values *= 1.5 / np.sqrt(np.prod(shape[1:]))
    else:
        values *= 0.5
    return values.astype(np.float32)
