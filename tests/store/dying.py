"""Runs an operation on copies of a store again and again, each time killed a little later: before its first change of
the file system, before its second, ... until it comes to its end.

Run as `python -m tests.store.dying OPERATION TEMPLATE COPIES`: the n-th copy of the store TEMPLATE is COPIES/n.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from puna.store import ModelName, Store, layers, management
from puna.store.pruning import prune
from puna.store.verifying import verify

# What changes files, of the events that CPython tells before they happen; `open` comes before every write.
EVENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate", "os.utime", "fcntl.flock"}
)

NEW_WEIGHTS = b"GGUF new weights"


def commit(root: Path) -> None:
    """Replace llama."""
    with Store(root).blobs.pinned() as blobs:
        parts = [blobs.add_bytes(NEW_WEIGHTS, layers.MODEL), blobs.add_bytes(b"new", layers.SYSTEM)]
        config = blobs.add_bytes(b"{}", layers.CONFIG)
        management.commit(root, ModelName.parse("llama"), layers.manifest_bytes(config, tuple(parts)))


def refer(root: Path) -> None:
    """Replace llama by a file used in place."""
    file = root / "mine.gguf"
    if not file.exists():
        file.write_bytes(NEW_WEIGHTS)
    with Store(root).blobs.pinned() as blobs:
        weights = blobs.add_file(file, layers.MODEL, reference=True)
        config = blobs.add_bytes(b"{}", layers.CONFIG)
        management.commit(root, ModelName.parse("llama"), layers.manifest_bytes(config, (weights,)))


def remove(root: Path) -> None:
    """Remove llama."""
    if management.is_there(root, ModelName.parse("llama")):
        management.remove(root, ModelName.parse("llama"))


def copy(root: Path) -> None:
    """Give llama the name of another model."""
    management.copy(Store(root), ModelName.parse("llama"), ModelName.parse("other"))


def clean(root: Path) -> None:
    """Remove all that is not used."""
    prune(root, everything=True)


def repair(root: Path) -> None:
    """Set damaged blobs aside."""
    verify(root)


OPERATIONS: dict[str, Callable[[Path], None]] = {
    each.__name__: each for each in (commit, refer, remove, copy, clean, repair)
}


def die_at(count: int, root: Path) -> None:
    """Kill this process before its `count`-th change below `root`."""
    left = count

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        # flock's argument is a descriptor
        if event in EVENTS and (event == "fcntl.flock" or str(arguments[0]).startswith(str(root))):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def main() -> None:
    """See the module."""
    operation, template, copies = OPERATIONS[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3])
    count, ended = 0, False
    while not ended:
        count += 1
        root = copies / str(count)
        shutil.copytree(template, root)
        child = os.fork()
        if child == 0:
            die_at(count, root)
            operation(root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended = os.WIFEXITED(status)
        if ended and os.WEXITSTATUS(status):
            sys.exit(f"{operation.__name__} failed")


if __name__ == "__main__":
    main()
