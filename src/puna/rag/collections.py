"""All collections of one place, which is a folder or the address of an object store (`s3://bucket/path`).

A table `collections` says what there is, with the model that each belongs to; each has a table of its own under its id.
Both are LanceDB's: a collection that is moved to an object store, or read by several machines, is the same tables.
Knows nothing of documents.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from puna.errors import CollectionNotFound, InvalidRequest, StoreError
from puna.rag.collection import OLD_VERSIONS, Collection, schema
from puna.rag.embedding import Pin
from puna.rag.extra import needs_extra

if TYPE_CHECKING:
    import pyarrow
    from lancedb import DBConnection
    from lancedb.table import Table

CATALOG = "collections"
MAX_VERSIONS = 100  # of the catalog, before they are tidied up
DAY = 86400  # seconds
ACTIVE_EVERY = 3600  # seconds: how exactly the last use of a collection is known


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What is known of a collection without opening it."""

    id: str
    name: str
    pin: Pin
    created: int  # Unix seconds
    active: int  # the last use, to the hour
    owner: str = ""  # the key it belongs to; "": the operator's
    metadata: Mapping[str, str] = field(default_factory=dict)
    expires_days: int | None = None  # after its last use

    @property
    def expires(self) -> int | None:
        """When it expires if nobody uses it, in Unix seconds."""
        return None if self.expires_days is None else self.active + self.expires_days * DAY

    @property
    def expired(self) -> bool:
        """Whether it has."""
        return self.expires is not None and self.expires < time.time()


class Collections:
    """The collections at `place`. Thread-safe; several processes may use one place."""

    def __init__(self, place: str | Path) -> None:
        """Raises MissingPackage, StoreError."""
        with needs_extra():
            import lancedb
        self.place = str(place)
        try:
            if "://" not in self.place:
                Path(self.place).mkdir(parents=True, exist_ok=True, mode=0o700)
            # Each look sees what other processes have written.
            self._database: DBConnection = lancedb.connect(self.place, read_consistency_interval=timedelta(0))
        except (OSError, RuntimeError, ValueError) as error:
            raise StoreError(
                f"the collections in {self.place} cannot be opened: {error}; PUNA_COLLECTIONS says where they are"
            ) from error

    def create(
        self,
        name: str,
        pin: Pin,
        *,
        owner: str = "",
        metadata: Mapping[str, str] | None = None,
        expires_days: int | None = None,
    ) -> CollectionInfo:
        """A new, empty collection for vectors of the model `pin`."""
        now = int(time.time())
        info = CollectionInfo(f"vs_{uuid.uuid4().hex}", name, pin, now, now, owner, dict(metadata or {}), expires_days)
        table = self._database.create_table(info.id, schema=schema(pin.dimension))
        Collection(table, pin.dimension).prepare()
        self.save(info)
        return info

    def save(self, info: CollectionInfo) -> None:
        """Write down what is known of a collection."""
        import pyarrow as pa

        catalog = self._catalog()
        rows = pa.Table.from_pylist([_row(info)], schema=_catalog_schema())
        catalog.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
        if len(catalog.list_versions()) > MAX_VERSIONS:
            catalog.optimize(cleanup_older_than=OLD_VERSIONS)

    def list(self) -> list[CollectionInfo]:
        """All of them, the oldest first."""
        rows = self._catalog().search().limit(None).to_list()
        return sorted((_info(row) for row in rows), key=lambda info: (info.created, info.id))

    def find(self, name_or_id: str, owner: str | None = None) -> CollectionInfo:
        """The one of that id or name; of `owner`'s only, unless that is None.

        Raises CollectionNotFound, InvalidRequest: several have that name.
        """
        infos = [info for info in self.list() if owner is None or info.owner == owner]
        if found := next((info for info in infos if info.id == name_or_id), None):
            return found
        named = [info for info in infos if info.name == name_or_id]
        if len(named) > 1:
            ids = ", ".join(info.id for info in named)
            raise InvalidRequest(f"several collections are called {name_or_id!r}: use one of their ids ({ids})")
        if named:
            return named[0]
        known = ", ".join(sorted(info.name for info in infos if info.name)[:8])
        raise CollectionNotFound(
            f"collection {name_or_id!r} not found: "
            + (f"there are {known}" if known else "there is none yet; `puna index NAME PATH` makes one")
        )

    def open(self, info: CollectionInfo) -> Collection:
        """Its documents. Raises CollectionNotFound, InvalidRequest: it has expired."""
        if info.expired:
            raise InvalidRequest(f"the collection {info.name or info.id!r} has expired: make a new one")
        try:
            return Collection(self._database.open_table(info.id), info.pin.dimension)
        except ValueError as error:
            raise CollectionNotFound(f"the table of the collection {info.name or info.id!r} is gone: {error}") from None

    def use(self, info: CollectionInfo) -> CollectionInfo:
        """Remember that it was used now."""
        now = int(time.time())
        if now - info.active < ACTIVE_EVERY:
            return info
        used = replace(info, active=now)
        self.save(used)
        return used

    def delete(self, info: CollectionInfo) -> None:
        """Remove it with all its documents."""
        self._catalog().delete(f"id = '{info.id}'")
        with suppress(ValueError):  # another process has just done the same
            self._database.drop_table(info.id)

    def _catalog(self) -> Table:
        return self._database.create_table(CATALOG, schema=_catalog_schema(), exist_ok=True)


def _catalog_schema() -> pyarrow.Schema:
    import pyarrow as pa

    texts = ("id", "name", "owner", "model", "digest", "pooling", "metadata")
    numbers = ("dimension", "created", "active", "expires_days")
    return pa.schema([*((name, pa.string()) for name in texts), *((name, pa.int64()) for name in numbers)])


def _row(info: CollectionInfo) -> dict[str, Any]:
    plain = {name: getattr(info, name) for name in ("id", "name", "owner", "created", "active", "expires_days")}
    return {**plain, **asdict(info.pin), "metadata": json.dumps(dict(info.metadata), ensure_ascii=False)}


def _info(row: Mapping[str, Any]) -> CollectionInfo:
    pin = Pin(row["model"], row["digest"], row["pooling"], row["dimension"])
    return CollectionInfo(
        row["id"], row["name"], pin, row["created"], row["active"], row["owner"],
        json.loads(row["metadata"]), row["expires_days"],
    )  # fmt: skip
