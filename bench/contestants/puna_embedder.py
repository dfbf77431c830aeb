"""Puna's engine, in process, as an embedder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.contestants.serving import serve
from puna import __version__
from puna.engine import EmbeddingEvent, EmbeddingRequest
from puna.engine.loading import load_engine


class PunaEmbedder:
    """Token ids in, unit vectors out."""

    def load(self, path: str, threads: int) -> dict[str, Any]:
        """Load the model."""
        self._engine = load_engine(Path(path), threads=threads, context=512, max_sequences=8)
        return {"version": f"puna {__version__}"}

    def embed(self, texts: list[list[int]]) -> dict[str, Any]:
        """Seconds for all texts, and the first one's vector."""
        for index, text in enumerate(texts):
            self._engine.add(EmbeddingRequest(f"{index}", tuple(text)))
        vectors: dict[str, bytes] = {}
        start = time.perf_counter()
        while self._engine.has_work:
            for event in self._engine.step():
                if not isinstance(event, EmbeddingEvent):
                    raise RuntimeError(event)
                vectors[event.id] = event.vector
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "vector": np.frombuffer(vectors["0"], "<f4").tolist()}


if __name__ == "__main__":
    serve(PunaEmbedder())
