"""Shards of a GGUF joined: the same bytes again, and no more room than there is."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from puna.errors import InvalidGGUF, PunaError
from puna.gguf import GGMLType, GGUFWriter, ValueType
from puna.store.progress import Progress, ignore
from puna.store.sources.joining import join
from tests.store.test_full_disk import run_mounted

TIGHT = """
import sys
from pathlib import Path
from puna.errors import StoreError
from puna.store import Store, layers
from puna.store.progress import ignore
from puna.store.weights import File, Weights

def joined(expendable):
    with Store(Path(sys.argv[1], "models")).blobs.pinned() as blobs:
        paths = [Path(each) for each in sys.argv[2:]]
        digests = [blobs.add_bytes(path.read_bytes(), layers.MODEL).digest for path in paths]
        files = [File(path.name, blobs.file(digest), digest) for path, digest in zip(paths, digests)]
        [layer] = Weights(blobs, ignore, None, expendable=frozenset(digests if expendable else [])).layers(files)
        return blobs.file(layer.digest).stat().st_size, [blobs.has(digest) for digest in digests]

try:
    joined(expendable=False)
except StoreError as error:
    print(error)
print(*joined(expendable=True))
"""


def writer(alignment: int = 32) -> GGUFWriter:
    """A model of eight tensors with metadata of every kind."""
    made = GGUFWriter("llama", alignment=alignment)
    for key, value, kind in (
        ("a.text", "text", None), ("a.byte", 3, ValueType.INT8), ("a.float", 1.5, ValueType.FLOAT64),
        ("a.bool", True, None), ("a.numbers", np.arange(5, dtype=np.uint16), None),
        ("a.texts", ["x", ""], None), ("a.arrays", [[1, 2], [3]], None), ("llama.block_count", 1, None),
    ):  # fmt: skip
        made.add(key, value, kind)
    for number in range(8):
        rows = np.random.default_rng(number).normal(size=(16, 32 + number)).astype(np.float32)
        made.add_tensor(f"t{number}", rows.shape, GGMLType.F32, rows)
    return made


def joined(shards: list[Path], folder: Path) -> bytes:
    (folder / "links").mkdir()
    join(shards, folder / "links", folder / "joined.gguf", ignore, None)
    return (folder / "joined.gguf").read_bytes()


@pytest.mark.parametrize("alignment", [32, 64])
def test_joined_shards_are_the_file_they_were_before_the_splitting(alignment: int, tmp_path: Path) -> None:
    [whole] = writer(alignment).write(tmp_path / "whole.gguf")
    shards = writer(alignment).write(tmp_path / "shard.gguf", max_shard_size=5000)
    assert len(shards) == 4
    assert joined(shards, tmp_path) == whole.read_bytes()


def test_each_shard_is_spent_once_and_only_after_all_of_it_is_written(tmp_path: Path) -> None:
    shards = writer().write(tmp_path / "shard.gguf", max_shard_size=5000)
    sizes = [sum(32 // 8 * 4 * 4 * (32 + n) for n in (2 * place, 2 * place + 1)) for place in range(4)]
    told: list[Progress] = []
    spent: list[tuple[int, int]] = []
    (tmp_path / "links").mkdir()
    join(
        shards, tmp_path / "links", tmp_path / "joined.gguf", told.append, threading.Event(),
        lambda place: spent.append((place, told[-1].completed or 0)),
    )  # fmt: skip
    assert spent == [(place, sum(sizes[: place + 1])) for place in range(4)]


@pytest.mark.parametrize("damage", ["missing", "swapped", "cut", "another's"])
def test_shards_that_do_not_belong_together_are_refused(damage: str, tmp_path: Path) -> None:
    shards = writer().write(tmp_path / "shard.gguf", max_shard_size=5000)
    if damage == "missing":
        shards.pop()
    elif damage == "swapped":
        shards[1], shards[2] = shards[2], shards[1]
    elif damage == "cut":
        shards[3].write_bytes(shards[3].read_bytes()[:-2000])
    else:
        shards[1].write_bytes(shards[0].read_bytes())
    with pytest.raises(PunaError) as caught:
        joined(shards, tmp_path)
    assert isinstance(caught.value, InvalidGGUF)
    assert not (tmp_path / "joined.gguf").exists()


def test_where_there_is_no_room_for_both_the_shards_go_while_they_are_joined(tmp_path: Path) -> None:
    big = GGUFWriter("llama")
    big.add("llama.block_count", 1)
    for number in range(8):
        big.add_tensor(f"t{number}", (1024, 128), GGMLType.F32, np.full((1024, 128), number, np.float32))
    [whole] = big.write(tmp_path / "whole.gguf")
    shards = big.write(tmp_path / "big.gguf", max_shard_size=1 << 20)
    assert len(shards) == 4
    lines = run_mounted(tmp_path / "tight", TIGHT, "6m", *map(str, shards)).splitlines()
    assert "No space left on device" in lines[0]
    assert lines[1:] == [f"{whole.stat().st_size} [False, False, False, False]"]
