"""A repository of a hub as the rest of Puna sees it: its files, their digests, where their bytes are.

Paths come from the network: they are compared, never opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from puna.store.transfer.source import Source

MAX_FILES = 100_000  # that are looked at

_STRANGE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\\\0-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository."""

    path: str  # as the hub tells it; never used on this disk
    size: int  # bytes
    digest: str | None  # sha256, 64 hex digits; None where the hub does not tell it
    sources: tuple[Source, ...]
    git_digest: str | None = None  # sha1 of git's blob object, 40 hex digits, of files that are not in LFS


def is_path(text: object) -> bool:
    """Whether git could have a file of that path: relative, without `.` and `..`. Else it is taken for no file."""
    return isinstance(text, str) and not _STRANGE.search(text)


@dataclass(frozen=True, slots=True)
class Repository:
    """The files of one revision."""

    title: str  # host/user/name, for people
    revision: str  # the commit where the hub tells it
    files: tuple[RemoteFile, ...]

    def file(self, path: str) -> RemoteFile | None:
        """The file of that path."""
        return next((file for file in self.files if file.path == path), None)
