"""Images on their way into a prompt: a mark in a message's text, through the template, to places among the token ids.

Knows nothing of how images are read (`pixels`), nor of what a model makes of them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from puna.chat import Message
from puna.engine import Image
from puna.errors import InvalidRequest, TemplateError
from puna.gguf import VisionConfig
from puna.runtime.pixels import pixels_of
from puna.runtime.text import TextModel

# What a projector's model was taught to see before an image and after it (LLaVA: Liu et al. 2023).
_SURROUNDINGS = {"mlp": ("", "\n")}


@dataclass(slots=True)
class Images:
    """Those of one request. Among token ids, as long as nothing is decided, -1 stands for each of the first's places,
    -2 for the second's, and so on.

    Raises InvalidRequest, where there are images, for a model that sees none.
    """

    model: TextModel
    name: str  # of the model, as the request has it
    files: list[bytes] = field(default_factory=list)
    # Nobody who writes a message can know it: no text is taken for an image.
    secret: str = field(default_factory=lambda: secrets.token_hex(8))

    def marked(self, message: Message) -> Message:
        """The message with a mark in its content for each of its images."""
        parts, end = [], 0
        for image in sorted(message.images, key=lambda image: image.at):
            parts += [message.content[end : image.at], self._mark(len(self.files))]
            self.files.append(image.data)
            end = image.at
        return replace(message, content="".join([*parts, message.content[end:]]), images=())

    def encode(self, text: str, *, after: bool = False) -> list[int]:
        """Token ids of a prompt text with marks, as `TextModel.encode` has them; after: it goes on after others."""
        ids: list[int] = []
        for place, (piece, index) in enumerate(self._pieces(text)):
            if place == 0 and not after:
                ids += self.model.encode(piece)
            else:
                ids += self.model.tokenizer.encode(piece, add_special=False, parse_special=True)
            ids += [] if index is None else [-1 - index] * self._vision.rows
        return ids

    def check(self, text: str, messages: Sequence[Message]) -> None:
        """Raise TemplateError where the template has left out an image of the messages."""
        wanted = {index for message in messages for _, index in self._pieces(message.content) if index is not None}
        if missing := wanted - {index for _, index in self._pieces(text)}:
            raise TemplateError(f"the chat template does not write the {len(missing)} images of a message it was given")

    def shown(self, text: str) -> str:
        """A prompt's text for people: images as Ollama writes them."""
        return self._pattern.sub(lambda found: f"[img-{found[1]}]", text) if self.files else text

    def placed(self, ids: Sequence[int]) -> tuple[tuple[int, ...], tuple[Image, ...]]:
        """Token ids without negative ones, and the images that are among them, read and made ready.

        Raises InvalidRequest for an image that cannot be read.
        """
        if not self.files:
            return tuple(ids), ()
        vision, filler = self._vision, self.model.tokenizer.bos_id or 0
        images: list[Image] = []
        known: dict[int, bytes] = {}
        at = 0
        while at < len(ids):
            index = -1 - ids[at]
            if index >= 0:
                known[index] = known.get(index) or pixels_of(self.files[index], vision, f"image {index}")
                images.append(Image(at, vision.rows, known[index]))
            at += vision.rows if index >= 0 else 1
        return tuple(filler if token < 0 else token for token in ids), tuple(images)

    @property
    def _vision(self) -> VisionConfig:
        if self.model.vision is None:
            raise InvalidRequest(f'"{self.name}" does not support images: it answers to text only')
        return self.model.vision

    @property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(f"img{self.secret}n([0-9]+)e")

    def _mark(self, index: int) -> str:
        before, after = _SURROUNDINGS[self._vision.projector]
        return f"{before}img{self.secret}n{index}e{after}"

    def _pieces(self, text: str) -> list[tuple[str, int | None]]:
        """Texts, each with the image that comes after it: at the end there is none."""
        parts = self._pattern.split(text) if self.files else [text]
        return list(zip(parts[::2], [*map(int, parts[1::2]), None], strict=True))
