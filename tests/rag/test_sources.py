from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from puna.errors import UnreadableDocument
from puna.rag import find_files
from puna.rag import sources as module


def names(root: Path, *paths: Path) -> list[str]:
    return [source.path.relative_to(root).as_posix() for source in find_files(paths or (root,)).sources]


def test_a_folder_stands_for_what_can_be_read_below_it(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt", "sub/c.py", "x.png", ".hidden.md", "node_modules/d.js", ".git/e.md", "LICENSE"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("text")
    assert names(tmp_path) == ["a.txt", "b.md", "sub/c.py"]
    assert find_files([tmp_path]).left_out == {".png": 1, "LICENSE": 1}
    assert names(tmp_path, tmp_path / "LICENSE", tmp_path / "sub", tmp_path / "sub/c.py") == ["LICENSE", "sub/c.py"]


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "secret.txt", tmp_path / "docs"
    folder.mkdir()
    outside.write_text("secret")
    (folder / "a.txt").symlink_to(outside)
    (folder / "up").symlink_to(tmp_path, target_is_directory=True)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "real.txt").write_text("text")
    (folder / "same.txt").symlink_to(folder / "real.txt")
    assert names(tmp_path, folder) == ["docs/real.txt"]


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s.txt"))
        assert names(tmp_path) == []


def test_a_pipe_in_a_files_place_is_not_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("text")
    [source] = find_files([file]).sources
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(UnreadableDocument, match="regular"):
        source.read()


def test_sizes_are_limited_and_what_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"x" * 11)
    [source] = find_files([file]).sources
    monkeypatch.setattr(module, "MAX_BYTES", 10)
    with pytest.raises(UnreadableDocument, match="larger"):
        source.read()
    file.unlink()
    with pytest.raises(UnreadableDocument, match="cannot be read"):
        source.read()
    with pytest.raises(UnreadableDocument, match="no such file"):
        find_files([file])
