"""Reading from an open file: what happens to it on disk meanwhile is an error at most."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from puna.errors import InvalidGGUF
from puna.gguf.mapped import MappedFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4096)
    return path


def test_threads_read_side_by_side_what_each_asked_for(path: Path) -> None:
    file = MappedFile(path)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda at: file.read(at, 5000), range(0, 1 << 19, 5000)))
    assert b"".join(part.tobytes() for part in parts) == path.read_bytes()[: 5000 * len(parts)]
    assert not parts[0].flags.writeable
    assert file.read(7, 0).size == 0


def test_a_file_cut_short_is_an_error_not_a_bus_error(path: Path) -> None:
    file = MappedFile(path)
    os.truncate(path, 5000)
    for start in (0, 4000, 1 << 19):
        with pytest.raises(InvalidGGUF, match="changed after it was opened"):
            file.read(start, 2000)


def test_a_file_written_over_is_an_error_even_where_its_size_stays(path: Path) -> None:
    file = MappedFile(path)
    before = path.stat().st_mtime_ns
    with path.open("r+b") as other:
        other.write(b"other")
    os.utime(path, ns=(before + 10**6, before + 10**6))  # where clocks are coarse
    with pytest.raises(InvalidGGUF, match="load the model again"):
        file.read(0, 5)


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no open file")
def test_a_file_replaced_or_removed_stays_what_was_opened(path: Path) -> None:
    file = MappedFile(path)
    other = path.with_name("other")
    other.write_bytes(b"new" * 1000)
    other.replace(path)
    assert file.read(3, 2).tolist() == [3, 4]
    path.unlink()
    assert np.array_equal(file.read(0, 256), np.arange(256, dtype=np.uint8))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc")
def test_the_last_reader_closes_the_file(path: Path) -> None:
    def open_files() -> int:
        return sum(1 for entry in Path("/proc/self/fd").iterdir() if str(entry.resolve()) == str(path))

    file = MappedFile(path)
    read = file.read
    file.unmap()
    assert (open_files(), read(5, 1)[0]) == (1, 5)
    del file, read
    assert open_files() == 0
