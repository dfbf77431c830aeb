"""What a collection asks of an embedding model, and the one model that it belongs to.

Knows nothing of how a model runs: `puna.runtime.documents` has an Embedder over the runtime, `puna.langchain` one over
LangChain's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Pin:
    """The model that a collection's vectors are of. Vectors of two models have nothing to do with each other."""

    model: str
    digest: str  # of its weights: another file under the same name is another model
    pooling: str  # how its tokens' states become one vector
    dimension: int

    def check(self, other: Pin, collection: str) -> None:
        """Raises InvalidRequest where `other`'s vectors are not like these. A name alone may differ."""
        mine, theirs = asdict(self), asdict(other)
        different = [name for name in ("digest", "pooling", "dimension") if mine[name] != theirs[name]]
        if different:
            changes = ", ".join(f"{name} {_short(mine[name])} there, {_short(theirs[name])} here" for name in different)
            raise InvalidRequest(
                f"the collection {collection!r} was made with the embedding model {self.model!r}, and {other.model!r} "
                f"is not the same ({changes}): their vectors cannot be compared. Use that model, or make a new "
                "collection"
            )


def _short(value: object) -> str:
    return str(value)[:12]


class Embedder(Protocol):
    """An embedding model."""

    @property
    def pin(self) -> Pin:
        """Which one."""

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest text that it takes whole."""

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, without what the model adds to it."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Their vectors, float32 (texts, dimension), each of length 1. Raises ContextOverflow for one too long."""
