"""The hyperparameters of a projector file: an image encoder, and what turns its output into vectors for a text model.

Keys: llama.cpp's `clip` architecture (tools/mtmd/clip-impl.h, and the converters that write such files). Knows no
forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf.config import ModelConfig, RopeConfig
from puna.gguf.keys import Keys
from puna.gguf.model_file import ModelFile

MAX_SIZE = 2048  # pixels of a side: what attention over an image's patches costs grows with the fourth power

# By projector: the tensor whose rows are the numbers of a vector that the text model gets.
_OUTPUTS = {"mlp": "mm.2.weight"}
# CLIP's (Radford et al. 2021), for old files that do not say.
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Images go in as squares of `image_size` pixels; `rows` vectors of `output_length` numbers come out."""

    tower: ModelConfig  # the image encoder's, which is a transformer over patches
    projector: str  # llama.cpp's name of its type
    activation: str  # of the tower's feed-forward: gelu, gelu_quick, silu
    image_size: int
    patch_size: int
    mean: Colour  # what is subtracted of red, green and blue, which are 0 to 1, ...
    deviation: Colour  # ... and what the rest is divided by
    output_length: int
    tiled: bool  # it was taught to see a large image as a whole and in tiles

    @property
    def patches(self) -> int:
        """In a row, and in a column."""
        return self.image_size // self.patch_size

    @property
    def rows(self) -> int:
        """How many tokens' places an image takes."""
        return self.patches**2

    @property
    def pixel_bytes(self) -> int:
        """Bytes of an image as it goes in: uint8, image_size x image_size x 3."""
        return 3 * self.image_size**2

    def check_fits(self, model: ModelConfig) -> None:
        """Raise UnsupportedModel unless its vectors are as long as those of the text model's tokens."""
        if self.output_length != model.embedding_length:
            raise UnsupportedModel(
                f"the image projector {self.tower.name} belongs to another model: its vectors have "
                f"{self.output_length} numbers, those of {model.name} {model.embedding_length}"
            )

    @classmethod
    def from_model(cls, file: ModelFile) -> Self:
        """Read and check; UnsupportedModel for a projector that is not known, InvalidGGUF names a wrong key."""
        source = str(file.path)
        general, keys = Keys(source, "clip", file.metadata), Keys(source, "clip.vision", file.metadata)
        projector = general.text("projector_type") or keys.text("projector_type") or "mlp"
        if file.metadata.get("general.architecture") != "clip" or projector not in _OUTPUTS:
            raise UnsupportedModel(
                f"{source}: an image projector of the type {projector!r:.40}; known are {', '.join(_OUTPUTS)}"
            )
        output = file.tensors.get(_OUTPUTS[projector])
        if output is None or len(output.shape) != 2:
            raise InvalidGGUF(f"{source}: the matrix {_OUTPUTS[projector]!r} is missing")
        image_size, patch_size = _sizes(keys)
        return cls(
            tower=_tower(file, keys, (image_size // patch_size) ** 2 + ("v.class_embd" in file.tensors)),
            projector=projector,
            activation=_activation(general),
            image_size=image_size,
            patch_size=patch_size,
            mean=_colour(keys, "image_mean", _MEAN),
            deviation=_colour(keys, "image_std", _DEVIATION),
            output_length=output.shape[0],
            tiled=keys.get("image_grid_pinpoints") is not None,
        )


def _sizes(keys: Keys) -> tuple[int, int]:
    image, patch = keys.integer("image_size"), keys.integer("patch_size")
    if image > MAX_SIZE:
        keys.fail("image_size", f"{image} is more than {MAX_SIZE} pixels")
    if patch > image:
        keys.fail("patch_size", f"{patch} is more than the image's {image} pixels")
    return image, patch


def _tower(file: ModelFile, keys: Keys, positions: int) -> ModelConfig:
    length, heads = keys.integer("embedding_length"), keys.integer("attention.head_count")
    if length % heads or length // heads % 16:
        raise UnsupportedModel(f"{file.path}: {heads} heads in {length} numbers are not each a multiple of 16")
    blocks = keys.integer("block_count")
    layers = keys.get("feature_layer")  # whose states are wanted: those after the last layer of the file
    if isinstance(layers, np.ndarray) and layers.tolist() != [blocks]:
        raise UnsupportedModel(f"{file.path}: states of the layers {layers.tolist()[:8]} of {blocks} are wanted")
    return ModelConfig(
        architecture="clip",
        name=file.path.stem,
        context_length=positions,
        embedding_length=length,
        block_count=blocks,
        feed_forward_length=keys.integer("feed_forward_length"),
        head_count=heads,
        head_count_kv=heads,
        key_length=length // heads,
        value_length=length // heads,
        norm_epsilon=keys.number("attention.layer_norm_epsilon", below=1.0),
        rope=RopeConfig(2, 10000.0, "none", 1.0, positions),  # nothing rotates
        vocab_size=0,
        sliding_window=None,
        causal=False,
        pooling="none",
        labels=0,
        file_type="",
        parameter_count=sum(tensor.elements for tensor in file.tensors.values()),
    )


def _activation(general: Keys) -> str:
    if general.flag("use_gelu", False):
        return "gelu"
    return "silu" if general.flag("use_silu", False) else "gelu_quick"


def _colour(keys: Keys, key: str, default: Colour) -> Colour:
    value = keys.get(key)
    if value is None:
        return default
    numbers = value.tolist() if isinstance(value, np.ndarray) else []
    if len(numbers) != 3 or not np.isfinite(numbers).all() or (key == "image_std" and min(numbers) <= 0):
        keys.fail(key, "must be three numbers, of a deviation positive ones")
    red, green, blue = map(float, numbers)
    return red, green, blue
