"""A loaded image encoder: pixels in, the vectors that take tokens' places in a text model out.

It works layer by layer, so that others need not wait for a whole image. Knows nothing of files of images, nor of
sequences.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna import kernels
from puna.gguf import ModelFile, VisionConfig
from puna.kernels import KernelLibrary, Progress, Tape, Team
from puna.models import clip
from puna.models.forward import Activation, Forward, Step
from puna.models.kv_cache import BLOCK_SIZE, KVCache
from puna.models.rope import RopeTable
from puna.models.weights import Weights, kernel_groups

_TILES = ("model.image_newline",)  # what only belongs to an image's tiles, which are not looked at


class ImageEncoder:
    """An encoder ready to run, of one image at a time; made by `load_encoder`."""

    def __init__(
        self, config: VisionConfig, forward: Forward, patches: Activation, tapes: list[Tape], team: Team
    ) -> None:
        assert forward.states is not None
        self.config = config
        self._patches, self._states, self._tapes, self._team = patches, forward.states, tapes, team
        self._next = len(tapes)  # of them, the one to be run
        self._table = _set_step(forward.step, config)  # the kernels read it by address

    @property
    def rows(self) -> int:
        """Vectors that an image becomes."""
        return self.config.rows

    @property
    def pixel_bytes(self) -> int:
        """Bytes of an image."""
        return self.config.pixel_bytes

    @property
    def busy(self) -> bool:
        """Whether an image was begun and is not done."""
        return self._next < len(self._tapes)

    def begin(self, pixels: bytes) -> None:
        """Take an image, uint8 (image_size, image_size, 3); one that is not done is given up.

        Raises ValueError for another size.
        """
        if len(pixels) != self.config.pixel_bytes:
            raise ValueError(f"{len(pixels)} bytes are not the {self.config.pixel_bytes} of an image for this encoder")
        found = patches_of(pixels, self.config)
        self._patches.data[self._patches.rows.capacity - len(found) :, : found.shape[1]] = found
        self._next = 0

    def advance(self) -> None:
        """Compute one layer more of the image that was begun."""
        self._team.run(self._tapes[self._next])
        self._next += 1

    def vectors(self) -> NDArray[np.float32]:
        """What the image became, (rows, output_length); a copy."""
        return self._states.data[: self.config.rows, : self._states.width].copy()

    def close(self) -> None:
        """End the team's threads."""
        self._team.close()


def patches_of(pixels: bytes, config: VisionConfig) -> NDArray[np.float32]:
    """The image's patches row by row, (rows, 3 patch_size**2): of each its red, its green, its blue, normalised."""
    size, count = config.patch_size, config.patches
    image = np.frombuffer(pixels, np.uint8).reshape(config.image_size, config.image_size, 3)
    mean, deviation = np.array(config.mean, np.float32), np.array(config.deviation, np.float32)
    values: NDArray[np.float32] = ((image / 255).astype(np.float32) - mean) / deviation
    cut = values[: count * size, : count * size].reshape(count, size, count, size, 3)
    patches: NDArray[np.float32] = cut.transpose(0, 2, 4, 1, 3).reshape(config.rows, -1)
    return patches


def load_encoder(file: ModelFile, *, threads: int, progress: Progress | None = None) -> ImageEncoder:
    """Load an image encoder with its projector.

    Raises UnsupportedModel or InvalidGGUF when the file is not one we can run.
    """
    config = VisionConfig.from_model(file)
    library = kernels.load(progress, {"attention_f32", *_groups(file)})
    positions = config.tower.context_length
    with Weights(file, library, threads) as weights:
        if progress:
            weights.on_taken = lambda done, total: progress("loading the image encoder", done, total)
        step = Step(positions, max_outputs=1, max_chunks=1)
        cache = KVCache(-(-positions // BLOCK_SIZE), "f32", kept=False)
        forward = Forward(config.tower, library, step, RopeTable(config.tower.rope, 1, None), cache, threads=threads)
        patches = forward.activation("patches", 3 * config.patch_size**2, step.tokens)
        tapes = _by_layer(forward, patches, weights, config, library)
        weights.check_all_taken(ignored=_TILES if config.tiled else ())
    return ImageEncoder(config, forward, patches, tapes, Team(library, threads))


def _groups(file: ModelFile) -> set[str]:
    """The groups of kernels of its matrices: a convolution's kernels are no stack of matrices."""
    return kernel_groups(file) - {"routing"}


def _by_layer(
    forward: Forward, patches: Activation, weights: Weights, config: VisionConfig, library: KernelLibrary
) -> list[Tape]:
    tapes = []
    for _ in clip.record(forward, patches, weights, config):
        tapes.append(forward.tape)
        forward.tape = Tape(library)
    return tapes


def _set_step(step: Step, config: VisionConfig) -> NDArray[np.int64]:
    """The same for each image: all rows are one text, of which those of patches are wanted. Gives its block table."""
    positions = config.tower.context_length
    table = np.arange(-(-positions // BLOCK_SIZE), dtype=np.int64)
    step.positions[:] = np.arange(positions)
    step.tables[:] = table.ctypes.data
    step.segments[0] = 0, positions, 0, table.ctypes.data
    step.kept_rows[: config.rows] = np.arange(positions - config.rows, positions)
    step.tokens.count[0], step.kept.count[0], step.segment_count[0] = positions, config.rows, 1
    return table
