"""LangChain's standard suites over Puna's embeddings and vector store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, VectorStoreIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from puna.errors import InvalidRequest
from puna.langchain import PunaEmbeddings, PunaVectorStore


class TestEmbeddingsUnit(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return PunaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "cria"}


class TestEmbeddings(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return PunaEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": "cria"}


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> VectorStore:
        return PunaVectorStore("tests", self.get_embeddings(), place=tmp_path)


@pytest.fixture(scope="module")
def embeddings() -> Iterator[PunaEmbeddings]:
    made = PunaEmbeddings("cria")
    yield made
    made.close()


def test_texts_are_found_by_words_and_by_their_metadata(embeddings: PunaEmbeddings, tmp_path: Path) -> None:
    texts = ["The cat sleeps on the sofa.", "向量数据库支持全文检索。", "Rain falls."]
    years: list[dict[str, Any]] = [{"year": 2020}, {"year": 2026}, {"year": 2026, "tags": ["a", "b"]}]
    store = PunaVectorStore.from_texts(texts, embeddings, years, place=tmp_path)
    [found] = store.similarity_search("数据", k=1, mode="text")
    assert (found.page_content, found.metadata) == (texts[1], {"year": 2026})
    newer = store.similarity_search(texts[0], k=3, filter={"type": "eq", "key": "year", "value": 2026})
    assert {each.page_content for each in newer} == set(texts[1:])
    [(nearest, score)] = store.similarity_search_with_relevance_scores(texts[2], k=1)
    assert (nearest.page_content, nearest.metadata["tags"]) == (texts[2], ["a", "b"])
    assert score == pytest.approx(1, abs=1e-3)
    retriever = store.as_retriever(search_kwargs={"k": 1})
    assert retriever.invoke(texts[0])[0].page_content == texts[0]


def test_a_collection_is_there_again_and_belongs_to_its_model(embeddings: PunaEmbeddings, tmp_path: Path) -> None:
    PunaVectorStore("mine", embeddings, place=tmp_path).add_texts(["text"], ids=["1"])
    assert PunaVectorStore("mine", embeddings, place=tmp_path).get_by_ids(["1"])[0].page_content == "text"
    with pytest.raises(InvalidRequest, match="cannot be compared"):
        PunaVectorStore("mine", DeterministicFakeEmbedding(size=6), place=tmp_path)
    with pytest.raises(InvalidRequest, match="cannot be compared"):
        PunaVectorStore("mine", PunaEmbeddings("cria", dimensions=8), place=tmp_path)


def test_nothing_is_accepted_and_ignored(tmp_path: Path) -> None:
    store = PunaVectorStore("tests", DeterministicFakeEmbedding(size=6), place=tmp_path)
    with pytest.raises(InvalidRequest, match="bogus"):
        store.similarity_search("x", bogus=1)
    with pytest.raises(InvalidRequest, match="do not go together"):
        store.add_texts(["a", "b"], [{}], ids=["1", "2"])
