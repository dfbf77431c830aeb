"""Images in requests, base64 or data URLs, to files' bytes; and texts with images among them to one text.

Nothing is fetched: an address elsewhere is refused in words. Whether the bytes are an image, the runtime finds out.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from puna.chat import ImageFile
from puna.errors import InvalidRequest


def from_base64(text: str, name: str) -> bytes:
    """The bytes. Raises InvalidRequest, which calls the image by `name`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{name} is not valid base64: send the file's bytes, encoded") from None


def from_url(url: object, name: str) -> bytes:
    """The bytes of a data URL (RFC 2397). Raises InvalidRequest, also for the address of another machine."""
    if not isinstance(url, str) or not url.startswith("data:"):
        raise InvalidRequest(
            f"{name} must be a data URL (data:image/png;base64,...): images are not fetched from other machines"
        )
    kind, comma, data = url.removeprefix("data:").partition(",")
    if not comma:
        raise InvalidRequest(f"{name} is not a whole data URL: it has no comma before its bytes")
    return from_base64(data, name) if kind.endswith(";base64") else unquote_to_bytes(data)


def together(parts: Iterable[str | bytes]) -> tuple[str, tuple[ImageFile, ...]]:
    """Texts, one on each line, and the images where they stood among them."""
    text: list[str] = []
    images: list[tuple[bytes, int]] = []
    for part in parts:
        if isinstance(part, bytes):
            images.append((part, sum(len(line) + 1 for line in text)))
        else:
            text.append(part)
    content = "\n".join(text)
    return content, tuple(ImageFile(data, min(at, len(content))) for data, at in images)
