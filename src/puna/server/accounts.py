"""Keys and their usage together, as a server opens them."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from puna.server.database import Database
from puna.server.keys import Keys
from puna.server.ledger import Ledger


class Accounts:
    """A context manager; `path` None: in memory, for as long as it is open. Raises PunaError: no such file can be."""

    def __init__(self, path: Path | None) -> None:
        self._database = Database(path)
        self.keys = Keys(self._database)
        self.ledger = Ledger(self._database)

    def close(self) -> None:
        """Write what is not written yet."""
        self.ledger.close()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
