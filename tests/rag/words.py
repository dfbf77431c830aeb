"""An embedding model without a neural network: each word's hash is a direction, a text's vector is their sum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from puna.rag import Pin

DIMENSION = 64


class WordsEmbedder:
    """See `puna.rag.Embedder`. Texts with the same words are near each other."""

    def __init__(self, digest: str = "words-1") -> None:
        self.pin = Pin("words", digest, "mean", DIMENSION)
        self.max_tokens = 256
        self.embedded = 0  # texts so far

    def count_tokens(self, text: str) -> int:
        return len(re.findall("[a-z0-9]+|[^a-z0-9\\s]", text.lower()))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += len(texts)
        vectors = np.array([sum(map(_direction, _words(text)), np.zeros(DIMENSION)) for text in texts], np.float32)
        norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
        units: NDArray[np.float32] = vectors / np.maximum(norms, 1e-9)
        return units


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _direction(word: str) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).normal(size=DIMENSION)
