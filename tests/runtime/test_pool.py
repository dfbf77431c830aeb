import threading
from dataclasses import replace
from pathlib import Path

import pytest

from puna.engine import RunnerProcess
from puna.errors import InsufficientMemory, KernelError
from puna.runtime.pool import Pool, runner_starter
from puna.runtime.types import FOREVER
from puna.store import LocalModel, Store

CRIA = Store(Path("none")).resolve("cria")
REAL = runner_starter(threads=1, num_parallel=2, kv_type="f16", prefix_cache=0, on_progress=None, check=False)


def test_a_model_that_cannot_be_loaded_leaves_its_place_free() -> None:
    fails = [True, False]

    def start(local: LocalModel, context: int) -> RunnerProcess:
        if fails.pop(0):
            raise KernelError("no")
        return REAL(local, context)

    pool = Pool(start, max_loaded=1, keep_alive=60)
    with pytest.raises(KernelError):
        pool.acquire(CRIA, context=64, keep_alive=None)
    assert pool.status() == []
    pool.release(pool.acquire(CRIA, context=64, keep_alive=None))
    assert len(pool.status()) == 1
    pool.close()


def test_those_who_wait_for_a_load_that_fails_do_not_wait_for_ever() -> None:
    loading, go = threading.Event(), threading.Event()

    def start(local: LocalModel, context: int) -> RunnerProcess:
        loading.set()
        assert go.wait(10)
        raise KernelError(f"no {local.name} {context}")

    pool = Pool(start, max_loaded=1, keep_alive=60)
    errors: list[KernelError] = []

    def acquire() -> None:
        try:
            pool.acquire(CRIA, context=64, keep_alive=None)
        except KernelError as error:
            errors.append(error)

    threads = [threading.Thread(target=acquire) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert loading.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 3


def test_a_larger_context_is_not_starved_by_smaller_ones() -> None:
    """Once somebody waits for a reload, the loaded model takes no new requests."""

    def start(local: LocalModel, context: int) -> RunnerProcess:  # with no more room than was asked for
        return RunnerProcess.start(local.path, threads=1, context=context, max_sequences=2, num_blocks=context // 16)

    pool = Pool(start, max_loaded=1, keep_alive=60)
    first = pool.acquire(CRIA, context=64, keep_alive=None)
    waiting = threading.Thread(target=lambda: pool.release(pool.acquire(CRIA, context=128, keep_alive=None)))
    waiting.start()
    while not first.retiring:
        waiting.join(0.01)
    late = threading.Thread(target=lambda: pool.release(pool.acquire(CRIA, context=64, keep_alive=None)))
    late.start()
    late.join(0.1)
    assert late.is_alive()
    pool.release(first)
    waiting.join(30)
    late.join(30)
    assert not waiting.is_alive()
    assert not late.is_alive()
    assert pool.status()[0].context_length == 128
    pool.close()


class Gate:
    """Memory for tests: every model needs as much as it says."""

    def __init__(self, room: int, need: int) -> None:
        self.room, self.each = room, need

    def need(self, local: LocalModel, context: int) -> int:
        assert local.path.exists()
        assert context
        return self.each

    def available(self) -> int:
        return self.room

    def refusal(self, local: LocalModel, context: int, room: int) -> InsufficientMemory:
        return InsufficientMemory(f"{local.name}: {context} tokens do not fit {room} bytes")


def copies(folder: Path, *sizes: int) -> list[LocalModel]:
    """cria under several paths, said to be of other sizes."""
    models = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}.gguf"
        path.symlink_to(CRIA.path)
        models.append(replace(CRIA, name=str(number), path=path, size=size))
    return models


def test_a_model_for_which_there_is_no_memory_is_refused_and_never_started() -> None:
    def start(local: LocalModel, context: int) -> RunnerProcess:
        raise AssertionError(f"{local.name} was started with {context} tokens")

    pool = Pool(start, max_loaded=3, keep_alive=60, gate=Gate(room=99, need=100))
    with pytest.raises(InsufficientMemory, match="64 tokens do not fit 99 bytes"):
        pool.acquire(CRIA, context=64, keep_alive=None)
    assert pool.status() == []


def test_where_memory_is_short_idle_models_go_and_the_cheapest_to_load_again_first(tmp_path: Path) -> None:
    small, large, pinned, new = copies(tmp_path, 10, 1000, 1, 5)
    gate = Gate(room=100, need=50)
    pool = Pool(REAL, max_loaded=9, keep_alive=60, gate=gate)
    for model, keep_alive in ((large, 60.0), (small, 60.0), (pinned, FOREVER)):
        pool.release(pool.acquire(model, context=64, keep_alive=keep_alive))
    rooms = [40, 60]  # too little, until one is gone
    gate.available = lambda: rooms.pop(0)  # type: ignore[method-assign]
    pool.release(pool.acquire(new, context=64, keep_alive=None))
    assert {status.model.name for status in pool.status()} == {large.name, pinned.name, new.name}
    pool.close()


def test_a_model_waits_for_the_memory_of_one_that_is_in_use(tmp_path: Path) -> None:
    first, second = copies(tmp_path, 1, 1)
    gate = Gate(room=100, need=50)
    pool = Pool(REAL, max_loaded=9, keep_alive=60, gate=gate)
    held = pool.acquire(first, context=64, keep_alive=None)
    gate.room = 40
    waiting = threading.Thread(target=lambda: pool.release(pool.acquire(second, context=64, keep_alive=None)))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    gate.room = 60
    pool.release(held)
    waiting.join(60)
    assert not waiting.is_alive()
    pool.close()


def test_a_request_beside_which_others_ran_on_any_model_was_not_alone(tmp_path: Path) -> None:
    first, second = copies(tmp_path, 1, 1)
    pool = Pool(REAL, max_loaded=9, keep_alive=60)
    held = pool.acquire(first, context=64, keep_alive=None)
    other = pool.acquire(second, context=64, keep_alive=None)
    assert pool.release(other) is False
    assert pool.release(held) is False  # the other has ended, but it ran
    assert pool.release(pool.acquire(first, context=64, keep_alive=None)) is True
    pool.close()
