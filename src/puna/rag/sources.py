"""Which files a path on the command line stands for. Reads no file's content.

A folder gives the files below it that `reading` knows by their names, sorted. Hidden files, folders that programs fill
(`node_modules`), links that lead out of the folder and whatever is no regular file are left out.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from puna.errors import UnreadableDocument
from puna.rag.reading import MAX_BYTES, is_readable

FILLED_BY_PROGRAMS = frozenset({"node_modules", "__pycache__", "venv", "site-packages", "target", "dist", "build"})


@dataclass(frozen=True, slots=True)
class Source:
    """One file."""

    path: Path  # absolute, links followed
    name: str  # as it is shown: relative to where the command runs, if it is below

    def read(self) -> bytes:
        """Its bytes. Raises UnreadableDocument."""
        try:
            with open(self.path, "rb", opener=_open_regular) as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnreadableDocument(f"cannot be read: {error.strerror or error}") from error
        if len(data) > MAX_BYTES:
            raise UnreadableDocument(f"is larger than {MAX_BYTES >> 20} MiB")
        return data


@dataclass(frozen=True, slots=True)
class Found:
    """Files, and how many were left out because nothing here reads their kind."""

    sources: tuple[Source, ...]
    roots: tuple[Path, ...]  # what was asked for, absolute
    left_out: Mapping[str, int] = field(default_factory=dict)  # by suffix


def find_files(paths: Iterable[Path]) -> Found:
    """The files that the paths stand for, each once. Raises UnreadableDocument for a path that is not there."""
    files: dict[Path, Source] = {}
    left_out: Counter[str] = Counter()
    roots = []
    for path in paths:
        root = path.expanduser().resolve()
        roots.append(root)
        if root.is_dir():
            for file in _below(root):
                if is_readable(file.name):
                    files[file] = Source(file, _shown(file))
                else:
                    left_out[file.suffix.lower() or file.name] += 1
        elif root.is_file():
            files[root] = Source(root, _shown(root))
        else:
            raise UnreadableDocument(f"{path}: there is no such file or folder")
    return Found(tuple(files.values()), tuple(roots), dict(left_out))


def _below(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(each for each in folders if each[0] != "." and each not in FILLED_BY_PROGRAMS)
        for name in sorted(names):
            path = Path(folder, name)
            if name[0] == "." or not path.is_file():
                continue
            real = path.resolve()
            if root in real.parents:  # a link out of the folder could show what nobody meant to index
                yield real


def _open_regular(path: str, flags: int) -> int:
    """A pipe put in a file's place would be waited for without end."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("it is no regular file")
    return descriptor


def _shown(path: Path) -> str:
    here = Path.cwd()
    return path.relative_to(here).as_posix() if here in path.parents else path.as_posix()
