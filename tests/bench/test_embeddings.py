"""Puna's part of `bench.embeddings`: what it times is what it says it makes."""

from __future__ import annotations

import numpy as np
import pytest
from bench.process import Contestant

from tests.minilm import FOLDER, needs_minilm


@needs_minilm
def test_the_embedder_gives_unit_vectors_and_takes_time_for_more_texts() -> None:
    text = [101, *range(2000, 2126), 102]
    with Contestant("puna_embedder") as embedder:
        embedder.ask("load", path=str(FOLDER), threads=1)
        one, many = embedder.ask("embed", texts=[text]), embedder.ask("embed", texts=[text] * 12)
    assert np.linalg.norm(one["vector"]) == pytest.approx(1, abs=1e-5)
    assert one["vector"] == many["vector"]
    assert many["seconds"] > one["seconds"] > 0
