"""A file of an image to the pixels that an image encoder takes: turned upright, padded to a square, resized.

As transformers' LlavaImageProcessor does with `do_pad`, to the bit, up to a size. Files are hostile: of what Pillow
can read only common formats are tried, and no more is unpacked than MAX_PIXELS.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from puna.errors import InvalidRequest
from puna.gguf import VisionConfig

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
MAX_PIXELS = 64_000_000  # of a file: 192 MB once unpacked
MAX_SIDE = 4096  # of the square; a longer image is made smaller before it is padded


def pixels_of(data: bytes, vision: VisionConfig, name: str) -> bytes:
    """uint8, image_size x image_size x 3, red, green, blue.

    Raises InvalidRequest, which calls the image by `name`, for what is no image, a damaged, animated or too large one.
    """
    colour = tuple(int(255 * mean) for mean in vision.mean)
    square = _padded(_read(data, name), colour)
    from PIL import Image

    return square.resize((vision.image_size, vision.image_size), Image.Resampling.BICUBIC).tobytes()


def _read(data: bytes, name: str) -> Image.Image:
    """Upright and without transparency."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            _check(opened, name)
            upright = ImageOps.exif_transpose(opened)
            if upright.has_transparency_data:
                clear = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
            return upright.convert("RGB")
    except InvalidRequest:
        raise
    except Exception as error:  # whatever a decoder says of a file that somebody sent
        known = ", ".join(FORMATS)
        raise InvalidRequest(f"{name} cannot be read (formats are {known}): {str(error)[:200]}") from None


def _check(opened: Image.Image, name: str) -> None:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        most = MAX_PIXELS // 1_000_000
        raise InvalidRequest(f"{name} has {width} x {height} pixels: send it smaller, at most {most} million")
    if getattr(opened, "is_animated", False):
        raise InvalidRequest(f"{name} is an animation: send one frame of it as an image")


def _padded(image: Image.Image, colour: tuple[int, ...]) -> Image.Image:
    """In the middle of a square."""
    from PIL import Image

    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BICUBIC)
    side = max(image.size)
    square = Image.new("RGB", (side, side), colour)
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square
