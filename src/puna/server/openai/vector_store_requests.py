"""Bodies of /v1/vector_stores, and what of them the documents are asked."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from puna.errors import InvalidRequest
from puna.rag.documents import Attribute
from puna.server.body import Body, Integer
from puna.server.file_search import SearchFields

MAX_BATCH = 2000  # files
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
