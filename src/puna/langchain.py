"""LangChain's `Embeddings` and `VectorStore` over Puna: `pip install 'puna[rag]' langchain-core`.

>>> from puna.langchain import PunaEmbeddings, PunaVectorStore
>>> store = PunaVectorStore("notes", PunaEmbeddings("all-minilm"))
>>> store.add_texts(["The cat sleeps on the sofa."])
>>> store.similarity_search("Where is the cat?", k=1)

The collections are those of `puna index`, on disk or in an object store. Nothing else of Puna imports this module, and
LangChain is no dependency of Puna's.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from numpy.typing import NDArray

from puna import paths
from puna.errors import CollectionNotFound, InvalidRequest
from puna.llm import LLM
from puna.rag import Collection, CollectionInfo, Collections, Hit, Mode, Passage, Pin
from puna.rag import Document as StoredDocument
from puna.rag.filters import matches
from puna.runtime import TextModel
from puna.runtime.documents import default_model, weights_digest
from puna.store import Store


class PunaEmbeddings(Embeddings):
    """An embedding model in this process.

    Args:
        model: a name, or the path of a GGUF file or a Hugging Face folder; by default all-minilm where it is on this
            machine, else cria.
        dimensions: keep so many of each vector's numbers (Matryoshka embeddings).
    """

    def __init__(self, model: str | None = None, *, dimensions: int | None = None) -> None:
        self.model = model or default_model(Store())
        self.dimensions = dimensions
        self._llm: LLM | None = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Their vectors, each of length 1. Raises ContextOverflow for a text longer than the model takes."""
        if not texts:
            return []
        vectors: list[list[float]] = self._loaded().embed(texts, dimensions=self.dimensions).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_documents([text])[0]

    @property
    def pin(self) -> Pin:
        """Which model it is."""
        model = TextModel.open(Store().resolve(self.model))
        width = self.dimensions or model.config.embedding_length
        return Pin(model.local.name, weights_digest(model.local), model.config.pooling, width)

    def close(self) -> None:
        """Give the memory back; the next call loads the model again."""
        if self._llm is not None:
            self._llm.close()
            self._llm = None

    def _loaded(self) -> LLM:
        if self._llm is None:
            self._llm = LLM(self.model)
        return self._llm


class PunaVectorStore(VectorStore):
    """A collection of documents as LangChain's vector store: each text is a document with one passage.

    Args:
        name: the collection; it is made where there is none.
        embedding: any of LangChain's embedding models. The collection belongs to it: another one is refused.
        place: where collections are, a folder or an address such as `s3://bucket/path` (PUNA_COLLECTIONS).
    """

    def __init__(self, name: str, embedding: Embeddings, *, place: str | Path | None = None) -> None:
        self._name = name
        self._embedding = embedding
        self._collections = Collections(place or paths.collections_place())
        pin = _pin(embedding)
        try:
            self._info: CollectionInfo = self._collections.find(name)
        except CollectionNotFound:
            self._info = self._collections.create(name, pin)
        self._info.pin.check(pin, name)
        self._collection: Collection = self._collections.open(self._info)

    @property
    def embeddings(self) -> Embeddings:
        """The embedding model."""
        return self._embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Write texts with their vectors in one commit; those with an id that is there are replaced.

        Raises InvalidRequest: lists of unlike lengths, an unknown argument.
        """
        _refuse(kwargs)
        listed = list(texts)
        given = metadatas or [{} for _ in listed]
        known = [each or uuid.uuid4().hex for each in ids or [""] * len(listed)]
        if not len(listed) == len(given) == len(known):
            raise InvalidRequest(f"{len(listed)} texts, {len(given)} metadatas and {len(known)} ids do not go together")
        vectors = np.array(self._embedding.embed_documents(listed), np.float32)
        now = int(time.time())
        last = {each: index for index, each in enumerate(known)}  # an id that comes twice: the later text
        self._collection.put(
            [
                (
                    StoredDocument(known[index], known[index], "", len(listed[index].encode()), now, given[index]),
                    [Passage(listed[index])],
                    vectors[index : index + 1],
                )
                for index in last.values()
            ]
        )
        return known

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Remove texts by their ids; those that are not there are no error. Without ids: all."""
        _refuse(kwargs)
        self._collection.delete([each.id for each in self._collection.documents()] if ids is None else ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Those that are there, in the order asked for."""
        found = {each.id: each for each in self._collection.documents(ids)}
        return [
            Document(id=each, page_content=_text(self._collection, each), metadata=dict(found[each].attributes))
            for each in ids
            if each in found
        ]

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The k nearest texts. `mode="hybrid"` or `"text"` searches by words (too); `filter` as in OpenAI's API."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        mode: Mode = "vector",
        filter: dict[str, Any] | None = None,  # noqa: A002  LangChain's name
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The same with scores from 0 to 1, more is nearer."""
        _refuse(kwargs)
        vector = np.array(self._embedding.embed_query(query), np.float32)
        return self._found(query, vector, k, mode, filter)

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  LangChain's name
        **kwargs: Any,
    ) -> list[Document]:
        """The k texts nearest to a vector."""
        _refuse(kwargs)
        vector = np.array(embedding, np.float32)
        return [document for document, _ in self._found("", vector, k, "vector", filter)]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        name: str = "langchain",
        place: str | Path | None = None,
        **kwargs: Any,
    ) -> Self:
        """The collection `name` with these texts in it."""
        _refuse(kwargs)
        store = cls(name, embedding, place=place)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def _select_relevance_score_fn(self) -> Any:
        return lambda score: score

    def _found(
        self, query: str, vector: NDArray[np.float32], k: int, mode: Mode, condition: dict[str, Any] | None
    ) -> list[tuple[Document, float]]:
        chosen = None
        if condition is not None:
            chosen = [each.id for each in self._collection.documents() if matches(condition, each.attributes)]
        hits = self._collection.search(query, vector, limit=k, mode=mode, documents=chosen)
        known = {each.id: each for each in self._collection.documents(sorted({hit.document for hit in hits}))}
        return [(_document(hit, known[hit.document]), hit.score) for hit in hits if hit.document in known]


def _document(hit: Hit, stored: StoredDocument) -> Document:
    return Document(id=stored.id, page_content=hit.passage.text, metadata=dict(stored.attributes))


def _text(collection: Collection, document: str) -> str:
    return "\n\n".join(passage.text for passage in collection.passages(document))


def _pin(embedding: Embeddings) -> Pin:
    """Which model it is: Puna's own by its weights, another by its class and what it calls its model."""
    if isinstance(embedding, PunaEmbeddings):
        return embedding.pin
    kind = type(embedding)
    model = str(getattr(embedding, "model", "") or getattr(embedding, "model_name", ""))
    return Pin(model or kind.__name__, f"{kind.__module__}.{kind.__qualname__} {model}", "", _width(embedding))


def _width(embedding: Embeddings) -> int:
    return len(embedding.embed_query("width"))


def _refuse(unknown: dict[str, Any]) -> None:
    if unknown:
        raise InvalidRequest(f"there is no argument {', '.join(unknown)} here")
