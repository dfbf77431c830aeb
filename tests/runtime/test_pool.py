import threading
from pathlib import Path

import pytest

from puna.engine import RunnerProcess
from puna.errors import KernelError
from puna.runtime.pool import Pool, runner_starter
from puna.store import Store

CRIA = Store(Path("none")).resolve("cria")
REAL = runner_starter(threads=1, num_parallel=2, kv_type="f16", prefix_cache=0, on_progress=None, check=False)


def test_a_model_that_cannot_be_loaded_leaves_its_place_free() -> None:
    fails = [True, False]

    def start(path: Path, context: int) -> RunnerProcess:
        if fails.pop(0):
            raise KernelError("no")
        return REAL(path, context)

    pool = Pool(start, max_loaded=1, keep_alive=60)
    with pytest.raises(KernelError):
        pool.acquire(CRIA, context=64, keep_alive=None)
    assert pool.status() == []
    pool.release(pool.acquire(CRIA, context=64, keep_alive=None))
    assert len(pool.status()) == 1
    pool.close()


def test_those_who_wait_for_a_load_that_fails_do_not_wait_for_ever() -> None:
    loading, go = threading.Event(), threading.Event()

    def start(path: Path, context: int) -> RunnerProcess:
        loading.set()
        assert go.wait(10)
        raise KernelError(f"no {path} {context}")

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

    def start(path: Path, context: int) -> RunnerProcess:  # with no more room than was asked for
        return RunnerProcess.start(path, threads=1, context=context, max_sequences=2, num_blocks=context // 16)

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
