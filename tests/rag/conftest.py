from __future__ import annotations

from pathlib import Path

import pytest

from puna.rag import Collection, Collections
from tests.rag.words import WordsEmbedder


@pytest.fixture
def embedder() -> WordsEmbedder:
    return WordsEmbedder()


@pytest.fixture
def collections(tmp_path: Path) -> Collections:
    return Collections(tmp_path / "collections")


@pytest.fixture
def collection(collections: Collections, embedder: WordsEmbedder) -> Collection:
    return collections.open(collections.create("notes", embedder.pin))
