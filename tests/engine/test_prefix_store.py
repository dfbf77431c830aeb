"""Blocks on disk: whole or not there, within the budget, the least recently used first to go; kill -9 at any byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.engine.disk_budget import SECTOR, DiskBudget
from puna.engine.engine import Engine
from puna.engine.prefix_store import BUSY_SECONDS, CorruptBlock, Name, Pause, PrefixStore
from puna.engine.types import GenerationRequest
from puna.errors import PunaError
from tests.engine.toy_model import ToyModel

SIZE = 1000
PATIENCE = 30.0


def block(value: int) -> NDArray[np.uint8]:
    return np.full(SIZE, value, np.uint8)


def key(i: int) -> bytes:
    return i.to_bytes(32, "big")


def open_store(root: Path, name: Name = "model", budget: int = 10**9) -> PrefixStore:
    return PrefixStore(root, name, block_bytes=SIZE, budget=budget)


def bytes_below(root: Path) -> int:
    return sum(-(-path.stat().st_size // SECTOR) * SECTOR for path in root.rglob("*") if path.is_file())


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_block_is_read_back_by_another_store(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(key(1), time.time_ns(), block(7))
    store.close(PATIENCE)
    again = open_store(tmp_path)
    found = again.get(key(1))
    assert found is not None
    assert bytes(found) == block(7).tobytes()
    assert again.has(key(1))
    assert again.get(key(2)) is None
    assert again.take_warnings() == ()
    again.close(PATIENCE)


def test_another_model_does_not_see_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(key(1), time.time_ns(), block(7))
    store.close(PATIENCE)
    other = open_store(tmp_path, "other")
    assert other.get(key(1)) is None
    other.close(PATIENCE)


def test_a_corrupt_block_is_deleted_and_told_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.put(key(1), time.time_ns(), block(7))
    wait_until(lambda: store.has(key(1)))
    path = tmp_path / "model" / key(1).hex()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptBlock):
        store.get(key(1))
    assert not path.exists()
    assert store.get(key(1)) is None
    (warning,) = store.take_warnings()
    assert str(path) in warning
    assert store.take_warnings() == ()
    store.close(PATIENCE)


def test_blocks_stay_within_the_budget_and_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    budget = 20 * SECTOR
    store = open_store(tmp_path, budget=budget)
    for i in range(15):
        store.put(key(i), 10**18 + i * 10**9, block(i))
    store.touch(key(0), 10**18 + 100 * 10**9)
    for i in range(15, 60):
        store.put(key(i), 10**18 + i * 10**9, block(i))
        wait_until(lambda i=i: store.has(key(i)))  # type: ignore[misc]
        if i == 25:
            assert store.has(key(0)), "it was used later than those that are still here"
            assert not store.has(key(1))
        assert bytes_below(tmp_path) <= budget
    store.close(PATIENCE)
    assert budget // 2 < bytes_below(tmp_path) <= budget
    assert store.has(key(59))


def test_the_oldest_files_go_whatever_their_names(tmp_path: Path) -> None:
    ages = [3, 9, 1, 7, 5, 0, 8, 2, 6, 4]
    for name, age in enumerate(ages):
        path = tmp_path / f"{name}"
        path.write_bytes(b"block")
        os.utime(path, ns=(10**18, 10**18 - age * 10**9))
    assert DiskBudget(tmp_path, 8 * SECTOR).make_room(10)
    assert sorted(ages[int(path.name)] for path in tmp_path.iterdir()) == [0, 1, 2, 3, 4, 5]


def test_two_processes_that_share_a_folder_stay_within_the_budget(tmp_path: Path) -> None:
    budget = 64 * SECTOR
    stores = [open_store(tmp_path, f"model{i}", budget) for i in range(2)]
    for i in range(400):
        stores[i % 2].put(key(i), 10**18 + i, block(i % 256))
    for store in stores:
        store.close(PATIENCE)
    assert bytes_below(tmp_path) <= budget


def test_a_budget_smaller_than_a_block_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path, budget=SECTOR - 1)
    store.put(key(1), time.time_ns(), block(1))
    store.close(PATIENCE)
    assert bytes_below(tmp_path) == 0
    (warning,) = store.take_warnings()
    assert "more than its whole budget" in warning


def test_what_a_killed_process_was_writing_is_cleared_away_later(tmp_path: Path) -> None:
    old, new = tmp_path / f"{DiskBudget.SCRATCH}old", tmp_path / f"{DiskBudget.SCRATCH}new"
    for path in (old, new):
        path.write_bytes(b"half a block")
    os.utime(old, (0, 0))
    assert DiskBudget(tmp_path, 10**6).make_room(10)
    assert not old.exists()
    assert new.exists(), "somebody may be writing it"


def test_a_name_that_takes_long_is_found_out_by_the_thread_and_stalls_nobody(tmp_path: Path) -> None:
    go = threading.Event()

    def name(_pause: Pause) -> str:
        assert go.wait(PATIENCE)
        return "model"

    store = open_store(tmp_path, name)
    started = time.monotonic()
    store.put(key(1), time.time_ns(), block(7))
    assert store.get(key(1)) is None
    assert time.monotonic() - started < 1
    go.set()
    wait_until(lambda: store.has(key(1)))
    store.close(PATIENCE)


def test_a_name_that_cannot_be_found_out_is_a_warning(tmp_path: Path) -> None:
    asked = []

    def name(_pause: Pause) -> str:
        asked.append(True)
        raise PunaError("the file was changed")

    store = open_store(tmp_path, name)
    for i in range(3):
        store.put(key(i), time.time_ns(), block(7))
    store.close(PATIENCE)
    assert len(asked) == 1, "it reads the whole file"
    assert store.take_warnings() == ("the prefix cache on disk cannot be written: the file was changed",)


def test_the_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("puna.engine.prefix_store.QUEUE_BYTES", 3 * SIZE)
    go = threading.Event()

    def name(_pause: Pause) -> str:
        assert go.wait(PATIENCE)
        return "model"

    store = open_store(tmp_path, name)
    count = 0
    while store.has_room(wait=True):
        store.put(key(count), time.time_ns(), block(1))
        count += 1
        assert count < 10
    go.set()
    wait_until(lambda: store.has_room(wait=False))
    store.close(PATIENCE)


def test_close_is_bounded_where_the_disk_is_stuck(tmp_path: Path) -> None:
    def name(_pause: Pause) -> str:
        time.sleep(2)
        return "model"

    store = open_store(tmp_path, name)
    store.put(key(1), time.time_ns(), block(1))
    started = time.monotonic()
    store.close(0.1)
    assert time.monotonic() - started < 1


def test_while_something_is_computed_the_thread_works_little_but_goes_on(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.set_busy(True)
    started = time.monotonic()
    for i in range(50):
        store.put(key(i), time.time_ns(), block(i))
    wait_until(lambda: store.has(key(1)))
    assert time.monotonic() - started >= 2 * BUSY_SECONDS
    assert not store.has(key(49))
    store.set_busy(False)
    wait_until(lambda: store.has(key(49)))
    assert time.monotonic() - started < 50 * BUSY_SECONDS
    store.set_busy(True)
    store.put(key(50), time.time_ns(), block(50))
    store.close(PATIENCE)
    assert store.has(key(50))


def test_the_thread_is_told_when_the_engine_has_nothing_to_do(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    model = ToyModel(num_blocks=8)
    engine = Engine(model, context=128, max_sequences=1, prefix_store=store)
    engine.add(GenerationRequest("a", tuple(range(40)), 3))
    seen = []
    while engine.has_work:
        engine.step()
        seen.append(store._busy)
    assert seen[0]
    assert not seen[-1], "it would dawdle for ever"
    engine.close(PATIENCE)


WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from puna.engine.prefix_store import PrefixStore

store = PrefixStore(Path(sys.argv[1]), "model", block_bytes=1 << 18, budget=10**9)
print("ready", flush=True)
for i in range(10**6):
    while not store.has_room(wait=True):
        pass
    store.put(i.to_bytes(32, "big"), time.time_ns(), np.full(1 << 18, i % 256, np.uint8))
"""


def test_kill_9_at_any_byte_leaves_whole_blocks(tmp_path: Path) -> None:
    for milliseconds in (3, 11, 17, 29):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(milliseconds / 1000)
            writer.send_signal(signal.SIGKILL)
    store = PrefixStore(tmp_path, "model", block_bytes=1 << 18, budget=10**9)
    names = [path.name for path in (tmp_path / "model").iterdir() if not path.name.startswith(".")]
    assert names
    for name in names:
        found = store.get(bytes.fromhex(name))
        assert found is not None
        assert set(found) == {int(name, 16) % 256}
    assert store.take_warnings() == ()
    store.close(PATIENCE)
