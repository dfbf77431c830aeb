"""Bodies of /v1/vector_stores, and what of them the documents are asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from puna.errors import InvalidRequest
from puna.rag.documents import Attribute
from puna.server.body import Body, Integer
from puna.server.documents import Query

MAX_RESULTS = 50  # of one search, as in OpenAI's API
MAX_BATCH = 2000  # files
RANKERS = ("auto", "default-2024-11-15")
KEYS, KEY_LENGTH, VALUE_LENGTH = 16, 64, 512  # of metadata and attributes

Attributes = dict[str, str | float | bool]


class StaticChunkingBody(Body):
    """How long passages are."""

    max_chunk_size_tokens: Integer = Field(description="Tokens of a passage at most.")
    chunk_overlap_tokens: Integer = Field(default=0, description="Of these, repeated from the one before.")


class ChunkingBody(Body):
    """How files are cut into passages."""

    type: str = Field(default="auto", description="`auto`, or `static` with lengths.")
    static: StaticChunkingBody | None = Field(default=None, description="The lengths.")

    def lengths(self) -> tuple[int | None, int | None]:
        """Tokens of a passage and of its overlap; None: as the model wants it. Raises InvalidRequest."""
        if self.type == "auto":
            return None, None
        if self.type == "static" and self.static is not None:
            return self.static.max_chunk_size_tokens, self.static.chunk_overlap_tokens
        raise InvalidRequest("chunking_strategy must be {'type': 'auto'}, or of type 'static' with its lengths")


class ExpiresBody(Body):
    """When a vector store expires."""

    anchor: str = Field(default="last_active_at", description="`last_active_at`.")
    days: Integer = Field(description="So many days after its last use.", ge=1, le=36500)


class UpdateStoreBody(Body):
    """POST /v1/vector_stores/{vector_store_id}."""

    name: str | None = Field(default=None, description="Its name.", max_length=256)
    metadata: dict[str, str] | None = Field(default=None, description="Kept with it.")
    expires_after: ExpiresBody | None = Field(default=None, description="When it expires.")

    def checked(self) -> None:
        """Raises InvalidRequest."""
        _check_pairs("metadata", self.metadata or {})
        if self.expires_after is not None and self.expires_after.anchor != "last_active_at":
            raise InvalidRequest("expires_after.anchor must be 'last_active_at'")


class StoreBody(UpdateStoreBody):
    """POST /v1/vector_stores."""

    model: str | None = Field(default=None, description="Its embedding model, for good.")
    description: str | None = Field(default=None, description="Not supported.")
    file_ids: list[str] = Field(default_factory=list, description="Files to index.", max_length=MAX_BATCH)
    chunking_strategy: ChunkingBody = Field(default=ChunkingBody(), description="How these are cut into passages.")


class AttachBody(Body):
    """POST /v1/vector_stores/{vector_store_id}/files."""

    file_id: str = Field(description="The file to index.")
    attributes: Attributes = Field(default_factory=dict, description="What a search can choose by.")
    chunking_strategy: ChunkingBody = Field(default=ChunkingBody(), description="How it is cut into passages.")


class AttributesBody(Body):
    """POST /v1/vector_stores/{vector_store_id}/files/{file_id}."""

    attributes: Attributes = Field(default_factory=dict, description="What a search can choose by.")


class BatchBody(Body):
    """POST /v1/vector_stores/{vector_store_id}/file_batches."""

    file_ids: list[str] = Field(default_factory=list, description="The files to index.", max_length=MAX_BATCH)
    files: list[AttachBody] = Field(
        default_factory=list, description="The same, each with its own attributes and strategy.", max_length=MAX_BATCH
    )
    attributes: Attributes = Field(default_factory=dict, description="Of all `file_ids`.")
    chunking_strategy: ChunkingBody = Field(default=ChunkingBody(), description="Of all `file_ids`.")

    def each(self) -> list[AttachBody]:
        """What is asked of each file. Raises InvalidRequest."""
        if bool(self.file_ids) == bool(self.files):
            raise InvalidRequest("a batch needs file_ids or files, and not both")
        return self.files or [
            AttachBody(file_id=each, attributes=self.attributes, chunking_strategy=self.chunking_strategy)
            for each in self.file_ids
        ]


class HybridBody(Body):
    """Weights of the two rankings that become one."""

    embedding_weight: float = Field(default=1.0, description="Of the ranking by meaning.", ge=0, le=1000)
    text_weight: float = Field(default=1.0, description="Of the ranking by words.", ge=0, le=1000)


class RankingBody(Body):
    """How passages are ranked."""

    ranker: str = Field(default="auto", description="`auto`: by meaning and by words; `none`: by meaning alone.")
    score_threshold: float = Field(default=0.0, description="Only passages with this score (0 to 1) or more.")
    hybrid_search: HybridBody = Field(default=HybridBody(), description="What the two rankings weigh.")


class SearchFields(Body):
    """What a search and the tool `file_search` have in common."""

    max_num_results: Integer = Field(default=10, description=f"Passages at most, 1 to {MAX_RESULTS}.")
    filters: dict[str, Any] | None = Field(
        default=None, description="Only documents with these attributes: a comparison, or several with `and` or `or`."
    )
    ranking_options: RankingBody = Field(default=RankingBody(), description="How passages are ranked.")

    def query(self, text: str) -> Query:
        """As the documents take it. Raises InvalidRequest."""
        ranking = self.ranking_options
        if not 1 <= self.max_num_results <= MAX_RESULTS:
            raise InvalidRequest(f"max_num_results must be between 1 and {MAX_RESULTS}, not {self.max_num_results}")
        if ranking.ranker not in (*RANKERS, "none"):
            raise InvalidRequest(f"ranking_options.ranker must be 'auto' or 'none', not {ranking.ranker!r}")
        weights = (ranking.hybrid_search.embedding_weight, ranking.hybrid_search.text_weight)
        if not any(weights):
            raise InvalidRequest("ranking_options.hybrid_search: one of the weights must be above 0")
        return Query(
            text,
            self.max_num_results,
            self.filters,
            ranking.score_threshold,
            "vector" if ranking.ranker == "none" else "hybrid",
            weights,
        )


class FileSearchFields(SearchFields):
    """What a tool of type `file_search` has besides its type."""

    max_num_results: Integer = Field(default=5, description="Of `file_search`: passages at most.")
    vector_store_ids: list[str] = Field(default_factory=list, description="Of `file_search`: where to search.")


class SearchBody(SearchFields):
    """POST /v1/vector_stores/{vector_store_id}/search."""

    query_: str | list[str] = Field(alias="query", description="What to look for; several are looked for as one text.")
    rewrite_query: bool = Field(default=False, description="Not supported: it is looked for as it is.")

    @property
    def text(self) -> str:
        """What to look for."""
        return self.query_ if isinstance(self.query_, str) else "\n".join(self.query_)


def checked_attributes(given: Attributes) -> Mapping[str, Attribute]:
    """Raises InvalidRequest for too many or too long ones."""
    _check_pairs("attributes", given)
    return given


def _check_pairs(what: str, pairs: Mapping[str, object]) -> None:
    long = any(len(key) > KEY_LENGTH or (isinstance(v, str) and len(v) > VALUE_LENGTH) for key, v in pairs.items())
    if len(pairs) > KEYS or long:
        raise InvalidRequest(
            f"{what}: {KEYS} pairs at most, keys of {KEY_LENGTH} characters and texts of {VALUE_LENGTH}"
        )
