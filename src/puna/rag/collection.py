"""One collection: documents, their passages and their vectors, in one LanceDB table.

A document's own row (ordinal -1) and the rows of its passages are written in one commit, so at every moment, and after
a crash at any, a document is wholly there as it was or wholly there as it is now. Several processes may write at once.
Up to ANN_ROWS vectors a search compares with all of them, beyond that it asks an index (HNSW over vectors of 8 bits,
the nearest compared exactly). Rows that are newer than an index are searched without it.

Knows nothing of files, models and other collections. A table lies in a folder or in an object store: LanceDB's affair.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidRequest
from puna.rag.documents import Document, Failure, Passage
from puna.rag.extra import needs_extra
from puna.rag.fusion import fuse
from puna.rag.terms import terms

if TYPE_CHECKING:
    import pyarrow
    from lancedb.table import Table

Mode: TypeAlias = Literal["hybrid", "vector", "text"]
MODES: tuple[Mode, ...] = get_args(Mode)

ANN_ROWS = 20_000  # below, comparing with every vector takes a few milliseconds, and is exact
CANDIDATES = 4  # for each result asked for, from each ranking
OLD_VERSIONS = timedelta(hours=1)  # that a search begun before may still read
DOCUMENT = -1  # the ordinal of a document's own row

# Of 100,000 vectors: see `python -m bench.vectors`.
HNSW_LINKS, HNSW_BUILD, HNSW_SEARCH, REFINE = 20, 150, 100, 2


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found."""

    document: str  # id
    ordinal: int  # place among the document's passages
    passage: Passage
    score: float  # 0 to 1: of a hybrid search by the places in both rankings, of one by vectors the cosine's


def schema(dimension: int) -> pyarrow.Schema:
    """The table's columns."""
    with needs_extra():
        import pyarrow as pa
    texts = ("name", "digest", "status", "failure", "attributes", "heading", "place", "text", "terms")
    numbers = ("size", "created", "chunk_tokens", "overlap_tokens")
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("document", pa.string(), nullable=False),
            pa.field("ordinal", pa.int32(), nullable=False),
            *(pa.field(name, pa.string()) for name in texts),
            *(pa.field(name, pa.int64()) for name in numbers),
            pa.field("vector", pa.list_(pa.float32(), dimension)),
        ]
    )


class Collection:
    """The documents of one collection. Thread-safe."""

    def __init__(self, table: Table, dimension: int) -> None:
        self._table = table
        self._dimension = dimension

    def prepare(self) -> None:
        """Make the indices of a new table."""
        from lancedb.index import FTS, BTree

        self._table.create_index("document", config=BTree())
        self._table.create_index("id", config=BTree())
        self._table.create_index(
            "terms", config=FTS(base_tokenizer="simple", stem=True, remove_stop_words=True, with_position=False)
        )

    def put(self, documents: Sequence[tuple[Document, Sequence[Passage], NDArray[np.float32]]]) -> None:
        """Write documents with all their passages and vectors (float32, (passages, dimension)) in one commit.

        Whatever was there under a document's id is replaced.
        """
        if not documents:
            return
        rows = [row for entry in documents for row in self._rows(*entry)]
        import pyarrow as pa

        (
            self._table.merge_insert("id")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .when_not_matched_by_source_delete(_among("document", [document.id for document, _, _ in documents]))
            .execute(pa.Table.from_pylist(rows, schema=schema(self._dimension)), on_bad_vectors="null")
        )

    def _rows(
        self, document: Document, passages: Sequence[Passage], vectors: NDArray[np.float32]
    ) -> Iterable[dict[str, Any]]:
        if vectors.shape != (len(passages), self._dimension):
            raise InvalidRequest(
                f"{document.name}: vectors of shape {vectors.shape} for {len(passages)} passages of {self._dimension}"
            )
        if not np.isfinite(vectors).all():
            raise InvalidRequest(f"{document.name}: a vector holds a number that is not finite")
        yield {"id": _row_id(document.id, DOCUMENT), "ordinal": DOCUMENT, **_document_fields(document)}
        for ordinal, (passage, vector) in enumerate(zip(passages, vectors, strict=True)):
            yield {
                "id": _row_id(document.id, ordinal),
                "document": document.id,
                "ordinal": ordinal,
                "heading": passage.heading,
                "place": passage.place,
                "text": passage.text,
                "terms": terms(f"{document.name}\n{passage.embedded}"),
                "vector": vector,
            }

    def update(self, document: Document) -> None:
        """Write a document's own row anew: its attributes, its status. Its passages stay."""
        import pyarrow as pa

        row = {"id": _row_id(document.id, DOCUMENT), "ordinal": DOCUMENT, **_document_fields(document)}
        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(pa.Table.from_pylist([row], schema=schema(self._dimension)), on_bad_vectors="null")

    def delete(self, documents: Sequence[str]) -> None:
        """Remove documents and their passages, in one commit; those that are not there are no error."""
        if documents:
            self._table.delete(_among("document", documents))

    def documents(self, ids: Sequence[str] | None = None) -> list[Document]:
        """All documents, or those of these ids; the oldest first."""
        if ids is not None and not ids:
            return []
        where = f"ordinal = {DOCUMENT}" + ("" if ids is None else f" AND {_among('document', ids)}")
        found = [_document(row) for row in self._select(where, list(_DOCUMENT_COLUMNS))]
        return sorted(found, key=lambda document: (document.created, document.name, document.id))

    def document(self, document_id: str) -> Document | None:
        """The one of that id."""
        return next(iter(self.documents([document_id])), None)

    def passages(self, document_id: str) -> list[Passage]:
        """A document's passages in order."""
        where = f"ordinal >= 0 AND {_among('document', [document_id])}"
        rows = self._select(where, ["ordinal", "heading", "place", "text"])
        return [_passage(row) for row in sorted(rows, key=lambda row: row["ordinal"])]

    def count(self) -> int:
        """How many passages there are."""
        return int(self._table.count_rows("ordinal >= 0"))

    def search(
        self,
        text: str,
        vector: NDArray[np.float32] | None,
        *,
        limit: int = 10,
        mode: Mode = "hybrid",
        documents: Sequence[str] | None = None,
        weights: tuple[float, float] = (1.0, 1.0),
    ) -> list[Hit]:
        """The best passages.

        Args:
            text: what full text searches for; not needed by the mode `vector`.
            vector: (dimension,), of the collection's model; not needed by the mode `text`.
            documents: ids of those to search in; None: all.
            weights: of the ranking by meaning and of that by words, in a hybrid search.
        """
        if limit < 1 or mode not in MODES:
            raise InvalidRequest(f"a search gives 1 or more passages in a mode of {', '.join(MODES)}")
        if documents is not None and not documents:
            return []
        # A document's own row has neither vector nor terms: it is not found, and no condition looks through all rows.
        where = None if documents is None else _among("document", documents)
        wanted = limit * CANDIDATES if mode == "hybrid" else limit
        by_vector = [] if mode == "text" or vector is None else self._nearest(vector, wanted, where)
        by_text = [] if mode == "vector" else self._matching(text, wanted, where)
        rows = {row["id"]: row for row in [*by_vector, *by_text]}
        scores: Mapping[str, float]
        if mode == "vector":
            scores = {row["id"]: max(0.0, 1.0 - float(row["_distance"])) for row in by_vector}
        else:
            weighted = [(by_vector, weights[0]), (by_text, weights[1])] if mode == "hybrid" else [(by_text, 1.0)]
            scores = fuse([([row["id"] for row in ranking], weight) for ranking, weight in weighted])
        best = list(scores.items())[:limit]
        return [_hit(rows[row_id], score) for row_id, score in best]

    def _nearest(self, vector: NDArray[np.float32], limit: int, where: str | None) -> list[dict[str, Any]]:
        if vector.shape != (self._dimension,):
            raise InvalidRequest(f"the collection's vectors have {self._dimension} numbers, not {vector.shape}")
        query: Any = self._table.search(vector, vector_column_name="vector")
        query = query.distance_type("cosine").ef(max(HNSW_SEARCH, 2 * limit)).refine_factor(REFINE)
        return _best(query, limit, where, "_distance")

    def _matching(self, text: str, limit: int, where: str | None) -> list[dict[str, Any]]:
        words = terms(text).strip()
        if not words:
            return []
        from lancedb import query as queries

        match: Any = queries.MatchQuery  # its stub takes what has a default for required
        query: Any = self._table.search(match(words, "terms"), query_type="fts")
        return _best(query, limit, where, "_score")

    def tidy(self) -> None:
        """Bring the indices up to date, merge small files, and drop versions that nobody reads any more."""
        from lancedb.index import IvfHnswSq

        indexed = any(index.columns == ["vector"] for index in self._table.list_indices())
        if not indexed and self.count() >= ANN_ROWS:
            self._table.create_index(
                "vector",
                config=IvfHnswSq(distance_type="cosine", num_partitions=1, m=HNSW_LINKS, ef_construction=HNSW_BUILD),
            )
        self._table.optimize(cleanup_older_than=OLD_VERSIONS)

    def _select(self, where: str, columns: list[str]) -> list[dict[str, Any]]:
        return list(self._table.search().where(where).select(columns).limit(None).to_list())


_DOCUMENT_COLUMNS: Mapping[str, Callable[[Document], Any]] = {
    "document": lambda document: document.id,
    "name": lambda document: document.name,
    "digest": lambda document: document.digest,
    "size": lambda document: document.size,
    "created": lambda document: document.created,
    "attributes": lambda document: json.dumps(dict(document.attributes), ensure_ascii=False),
    "chunk_tokens": lambda document: document.chunk_tokens,
    "overlap_tokens": lambda document: document.overlap_tokens,
    "status": lambda document: document.status,
    "failure": lambda document: document.failure and json.dumps([document.failure.code, document.failure.message]),
}
_HIT_COLUMNS = ("id", "document", "ordinal", "heading", "place", "text")


def _best(query: Any, limit: int, where: str | None, score: str) -> list[dict[str, Any]]:
    """The rows that a search finds."""
    if where is not None:
        query = query.where(where, prefilter=True)
    return list(query.limit(limit).select([*_HIT_COLUMNS, score]).to_list())


def _document_fields(document: Document) -> dict[str, Any]:
    return {name: value(document) for name, value in _DOCUMENT_COLUMNS.items()}


def _document(row: Mapping[str, Any]) -> Document:
    fields = {name: row[name] for name in _DOCUMENT_COLUMNS if name not in ("document", "attributes", "failure")}
    failure = Failure(*json.loads(row["failure"])) if row["failure"] else None
    return replace(
        Document(id=row["document"], name=""), **fields, attributes=json.loads(row["attributes"]), failure=failure
    )


def _passage(row: Mapping[str, Any]) -> Passage:
    return Passage(row["text"], row["heading"], row["place"])


def _hit(row: Mapping[str, Any], score: float) -> Hit:
    return Hit(row["document"], row["ordinal"], _passage(row), score)


def _row_id(document: str, ordinal: int) -> str:
    return f"{document}#{ordinal}"


def _among(column: str, values: Iterable[str]) -> str:
    """An SQL condition. A quote in a value is doubled, which is all that a string literal needs."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"
