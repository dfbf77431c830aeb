"""Files that clients send, each with what is known of it, in a folder of its own.

A file is there once its folder has its last name: whatever ends the server in between leaves nothing half. Names of
clients are kept as text, and never become names of files. Knows nothing of what the files are for.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from puna.errors import InvalidRequest, StoreError
from puna.server.errors import BodyTooLargeError, NotFoundError

MAX_NAME = 255  # characters of a file's name that are kept
_ID = re.compile(r"file-[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Upload:
    """What is known of a file."""

    id: str
    name: str
    size: int  # bytes
    created: int  # Unix seconds
    purpose: str
    owner: str  # the key that sent it; "": the operator's


class Uploads:
    """The files in `folder`, which is made when it is needed."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    async def add(self, name: str, pieces: AsyncIterator[bytes], purpose: str, owner: str) -> Upload:
        """Keep a file. Raises BodyTooLargeError, InvalidRequest, StoreError; then nothing is kept."""
        upload_id = f"file-{uuid.uuid4().hex}"
        incoming = self._folder / f"incoming-{upload_id}"
        try:
            incoming.mkdir(parents=True, mode=0o700)
            size = 0
            with open(incoming / "content", "xb") as file:
                async for piece in pieces:
                    size += len(piece)
                    if size > self._max_bytes:
                        raise BodyTooLargeError(f"the file is larger than {self._max_bytes >> 20} MiB")
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            if not size:
                raise InvalidRequest("the file is empty")
            upload = Upload(upload_id, _safe(name), size, int(time.time()), purpose, owner)
            (incoming / "about.json").write_text(json.dumps(asdict(upload), ensure_ascii=False), "utf-8")
            incoming.rename(self._folder / upload_id)
            return upload
        except OSError as error:
            raise StoreError(f"the file cannot be kept in {self._folder}: {error.strerror or error}") from error
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def get(self, upload_id: str, owner: str | None) -> Upload:
        """Of `owner`, or of anybody where that is None. Raises NotFoundError."""
        upload = self._read(upload_id) if _ID.fullmatch(upload_id) else None
        if upload is None or owner not in (None, upload.owner):
            raise NotFoundError(f"there is no file {upload_id!r}")
        return upload

    def content(self, upload_id: str, owner: str | None) -> bytes:
        """Its bytes. Raises NotFoundError."""
        self.get(upload_id, owner)
        try:
            return (self._folder / upload_id / "content").read_bytes()
        except FileNotFoundError:  # deleted meanwhile
            raise NotFoundError(f"there is no file {upload_id!r}") from None

    def list(self, owner: str | None) -> list[Upload]:
        """The oldest first."""
        names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        found = [upload for name in names if _ID.fullmatch(name) and (upload := self._read(name))]
        kept = [upload for upload in found if owner in (None, upload.owner)]
        return sorted(kept, key=lambda upload: (upload.created, upload.id))

    def delete(self, upload_id: str, owner: str | None) -> None:
        """Raises NotFoundError."""
        self.get(upload_id, owner)
        leaving = self._folder / f"leaving-{upload_id}"
        os.replace(self._folder / upload_id, leaving)  # gone at once, whatever happens next
        shutil.rmtree(leaving, ignore_errors=True)

    def _read(self, upload_id: str) -> Upload | None:
        try:
            return Upload(**json.loads((self._folder / upload_id / "about.json").read_text("utf-8")))
        except FileNotFoundError:
            return None


def _safe(name: str) -> str:
    """The last part of a path, without what drives terminals."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(each for each in last if each.isprintable())[:MAX_NAME] or "unnamed"
