"""ImageReader: encodes the images of prompts, a little in each step, just before their places are computed.

Knows neither which sequence an image belongs to nor who comes first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from puna.engine.model import ImageEncoder
from puna.engine.sequence import Picture
from puna.engine.types import GenerationRequest
from puna.errors import InvalidRequest

KEPT = 4  # images whose vectors are remembered: some 10 MB each
SECONDS = 0.2  # of a step: answers that are being written wait for no more of an image, and a layer


class ImageReader:
    """Gives pictures their vectors. Without an encoder there are none."""

    def __init__(self, encoder: ImageEncoder | None) -> None:
        self._encoder = encoder
        self._begun: bytes | None = None  # the digest of the image that the encoder is at
        self._kept: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()  # by digest; the last used last

    def check(self, request: GenerationRequest) -> None:
        """Raise InvalidRequest for images that the encoder cannot take."""
        if request.images and self._encoder is None:
            raise InvalidRequest("this model was loaded without an image encoder: it sees no images")
        for image in request.images:
            assert self._encoder is not None
            rows, size = self._encoder.rows, self._encoder.pixel_bytes
            if image.rows != rows or len(image.pixels) != size:
                raise InvalidRequest(
                    f"an image of {len(image.pixels)} bytes in {image.rows} places: it must be {size} in {rows}"
                )

    def read(self, awaited: Sequence[Picture]) -> None:
        """Give pictures what is known, and go on with one that is not, for so long as a step may take.

        That is the one that was begun, if somebody still waits for it, else the first.
        """
        unknown = [picture for picture in awaited if not self._give(picture)]
        if not unknown:
            return
        assert self._encoder is not None
        picture = next((each for each in unknown if each.key.digest == self._begun), unknown[0])
        if picture.key.digest != self._begun:
            self._encoder.begin(picture.image.pixels)
            self._begun = picture.key.digest
        deadline = time.perf_counter() + SECONDS
        while self._encoder.busy and time.perf_counter() < deadline:
            self._encoder.advance()
        if not self._encoder.busy:
            self._keep(self._begun, self._encoder.vectors())
            self._begun = None
            for each in unknown:
                self._give(each)

    def _give(self, picture: Picture) -> bool:
        if picture.key.digest in self._kept:
            self._kept.move_to_end(picture.key.digest)
            picture.vectors = self._kept[picture.key.digest]
        return picture.vectors is not None

    def _keep(self, digest: bytes, vectors: NDArray[np.float32]) -> None:
        self._kept[digest] = vectors
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
