"""API keys: what each may do, and the file that holds them.

A key is 256 random bits. That cannot be guessed or tried through, so the file holds its plain SHA-256: a slow, salted
hash protects what people think up, and would only let whoever sends wrong keys keep the server busy. Finding the hash
in a table tells by its time at most something about hashes, from which no key follows.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from puna.errors import InvalidRequest
from puna.server.database import Database
from puna.server.errors import ForbiddenError
from puna.store import ModelName

PREFIX = "sk-puna-"
OPERATORS_ROUTES = ("/metrics",)  # about all keys together: only for a key that names them
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Key:
    """Who calls, and what it may do."""

    name: str  # "" for the operator
    models: tuple[str, ...] = ()  # patterns (`qwen3*`) of the models it may use; none: all
    routes: tuple[str, ...] = ()  # patterns (`/v1/*`) of the paths it may call; none: all but the operator's
    budget: int | None = None  # tokens a day (UTC), prompts and answers together
    created: datetime | None = None
    revoked: datetime | None = None

    @property
    def is_operator(self) -> bool:
        """Whether it is the one the server was started with, or the server asks for none."""
        return not self.name

    def may_call(self, path: str) -> bool:
        """Whether a route is allowed."""
        if self.is_operator:
            return True
        if not self.routes:
            return path not in OPERATORS_ROUTES
        return any(fnmatchcase(path, pattern) for pattern in self.routes)

    def may_use(self, model: str) -> bool:
        """Whether a model is allowed, whichever way its name is written."""
        if not self.models:
            return True
        name = canonical(model)
        short = name.removesuffix(":latest")
        return any(fnmatchcase(each, pattern.lower()) for each in (name, short) for pattern in self.models)

    def require_model(self, model: str) -> None:
        """Raises ForbiddenError where it may not be used."""
        if not self.may_use(model):
            raise ForbiddenError(f"the key {self.name!r} may not use the model {model!r}")


OPERATOR = Key("")


def canonical(model: str) -> str:
    """One spelling for each model: `cria:latest` for `Cria` and `registry.ollama.ai/library/cria`; a path as it is."""
    try:
        return str(ModelName.parse(model)).lower()
    except InvalidRequest:
        return model


def hash_of(token: str) -> bytes:
    """As the file has it."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class Keys:
    """The keys in the file."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, name: str, *, models: Sequence[str] = (), routes: Sequence[str] = (), budget: int | None = None
    ) -> str:
        """Make a key and return it: nobody can see it again.

        Raises:
            InvalidRequest: a name that is taken or malformed, an empty pattern, a budget below 1.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRequest(f"{name!r} cannot name a key: letters, digits and . _ @ - are possible, 64 at most")
        if budget is not None and budget < 1:
            raise InvalidRequest(f"a budget must be at least 1 token a day, not {budget}")
        for route in routes:
            if not route.startswith(("/", "*")):
                raise InvalidRequest(f"{route!r} is no pattern of routes: they begin with /, as in /v1/*")
        token = PREFIX + secrets.token_urlsafe(32)
        row = (name, hash_of(token), "\n".join(models), "\n".join(routes), budget, time.time())
        try:
            with self._database.transaction() as connection:
                connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
        except sqlite3.IntegrityError:
            raise InvalidRequest(
                f"there is or was a key {name!r}; its usage is counted by that name, so choose another one"
            ) from None
        return token

    def revoke(self, name: str) -> None:
        """From now on nobody can use it. Raises InvalidRequest where there is none of that name."""
        with self._database.transaction() as connection:
            sql = "UPDATE keys SET revoked = ? WHERE name = ? AND revoked IS NULL"
            if not connection.execute(sql, (time.time(), name)).rowcount:
                raise InvalidRequest(f"there is no key {name!r} that could be revoked; see `puna keys list`")

    def list(self) -> list[Key]:
        """All of them, the revoked ones too, by name."""
        return sorted(self.by_hash().values(), key=lambda key: key.name)

    def active(self) -> bool:
        """Whether there is one that was not revoked."""
        return any(key.revoked is None for key in self.by_hash().values())

    def by_hash(self) -> dict[bytes, Key]:
        """Hash -> key, the revoked ones too."""
        sql = "SELECT hash, name, models, routes, budget, created, revoked FROM keys"
        with self._database.reading() as connection:
            return {row[0]: _key(*row[1:]) for row in connection.execute(sql)}


def _key(name: str, models: str, routes: str, budget: int | None, *times: Any) -> Key:
    created, revoked = (None if each is None else datetime.fromtimestamp(each, UTC) for each in times)
    return Key(name, tuple(models.split()), tuple(routes.split()), budget, created, revoked)
