"""Changes a store without pause for some seconds, as one of several processes.

Run as `python -m tests.store.changing ROLE ROOT SECONDS`; prints how often.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from puna.errors import ModelNotFound
from puna.store import ModelName, Store, layers, management
from puna.store.pruning import prune

SHARED = b"GGUF weights that several models share" * 100
CONFIG = layers.Config(model_family="llama", model_type="1B", file_type="F16").to_bytes()
NAMES = ("kept", "gone")


def pull(root: Path, turn: int) -> None:
    """Add a model as a pull does: pin, look what is there, add what is not, commit. All of it must be there then."""
    name = ModelName.parse(NAMES[turn % 2])
    with Store(root).blobs.pinned() as blobs:
        weights = blobs.add_bytes(SHARED, layers.MODEL)
        system = blobs.add_bytes(f"turn {turn % 5}".encode(), layers.SYSTEM)
        config = blobs.add_bytes(CONFIG, layers.CONFIG)
        management.commit(root, name, layers.manifest_bytes(config, (weights, system)))
        for layer in (weights, system, config):
            assert blobs.file(layer.digest).stat().st_size == layer.size


def delete(root: Path, turn: int) -> None:
    """Remove a model that another process makes anew."""
    with contextlib.suppress(ModelNotFound):
        management.remove(root, ModelName.parse(("gone", "copy")[turn % 2]))


def read(root: Path, _turn: int) -> None:
    """Look at the model that is never removed, only replaced, and at all that there are."""
    store = Store(root)
    if management.is_there(root, ModelName.parse("kept")):
        assert (store.resolve("kept").system or "").startswith("turn")
    store.list()


def clean(root: Path, _turn: int) -> None:
    """Prune all that can be."""
    prune(root, everything=True)


def copy(root: Path, _turn: int) -> None:
    """Give a model another name, if it is there."""
    with contextlib.suppress(ModelNotFound):
        management.copy(Store(root), ModelName.parse("gone"), ModelName.parse("copy"))


def add(root: Path, turn: int) -> None:
    """Add a blob without a manifest, in pieces."""
    Store(root).blobs.add_stream([b"unused", str(turn).encode()])


ROLES: dict[str, Callable[[Path, int], None]] = {each.__name__: each for each in (pull, delete, clean, copy, add, read)}


def main() -> None:
    """See the module."""
    role, root, end = ROLES[sys.argv[1]], Path(sys.argv[2]), time.monotonic() + float(sys.argv[3])
    turn = 0
    while time.monotonic() < end:
        role(root, turn)
        turn += 1
        time.sleep(0.002)  # whoever polls for the lock has a chance, too
    print(turn)


if __name__ == "__main__":
    main()
