"""The name of what KV values depend on: the same for the same content, another for anything else."""

from __future__ import annotations

import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import pytest

from puna.engine.model_key import model_key
from puna.errors import InvalidGGUF
from puna.gguf import open_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with as_file(files("puna") / "data" / "cria.gguf") as found:
        return Path(shutil.copy(found, tmp_path / "model.gguf"))


def key_of(path: Path, root: Path, kv_type: str = "f16") -> str:
    with open_model(path) as file:
        key = model_key(file, kv_type=kv_type, digests=root)
        return key if isinstance(key, str) else key(lambda: None)


def is_known(path: Path, root: Path) -> bool:
    with open_model(path) as file:
        return isinstance(model_key(file, kv_type="f16", digests=root), str)


def test_it_is_found_out_once_and_then_remembered(path: Path, tmp_path: Path) -> None:
    assert not is_known(path, tmp_path / "root")
    key = key_of(path, tmp_path / "root")
    assert is_known(path, tmp_path / "root")
    assert key_of(path, tmp_path / "root") == key
    assert key_of(path, tmp_path / "another root") == key


def test_a_copy_is_the_same_model(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(path, tmp_path / "copy.gguf"))
    assert key_of(copy, tmp_path / "root") == key_of(path, tmp_path / "root")


def test_one_bit_of_a_weight_makes_another_model_even_where_time_and_size_are_put_back(
    path: Path, tmp_path: Path
) -> None:
    before = key_of(path, tmp_path / "root")
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not is_known(path, tmp_path / "root")
    assert key_of(path, tmp_path / "root") != before


def test_the_kv_type_and_the_instruction_set_make_another_key(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    keys = {key_of(path, root), key_of(path, root, "q8_0")}
    monkeypatch.setenv("PUNA_ISA", "portable")
    assert len(keys | {key_of(path, root)}) == 3


def test_a_file_changed_after_it_was_opened_is_not_given_a_key(path: Path, tmp_path: Path) -> None:
    with open_model(path) as file:
        find_out = model_key(file, kv_type="f16", digests=tmp_path)
        assert not isinstance(find_out, str)
        os.utime(path, (1, 1))
        with pytest.raises(InvalidGGUF, match="changed"):
            find_out(lambda: None)
