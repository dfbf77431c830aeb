from pathlib import Path

import pytest

from puna.errors import InvalidRequest
from puna.store.components import Components, gather
from puna.store.modelfile import Modelfile


def found(folder: Path, text: str) -> Components:
    return gather(Modelfile.parse(text), folder)


def files(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"GGUF")
    return [folder / name for name in names]


def test_a_path_is_relative_to_the_modelfile_and_what_is_no_path_is_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [path] = files(tmp_path, "a b.gguf")
    assert found(tmp_path, "FROM ./a b.gguf").files == (path,)
    assert found(tmp_path, "FROM a b.gguf").files == (path,)
    assert found(tmp_path.parent, f"FROM {path}").files == (path,)
    assert found(tmp_path, "FROM llama3:8b") == Components(from_="llama3:8b")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert found(tmp_path.parent, "FROM ~/a b.gguf").files == (path,)
    with pytest.raises(InvalidRequest, match="nobody-of-that-name"):
        found(tmp_path, "FROM ~nobody-of-that-name/x")


def test_a_folder_is_searched_in_ollamas_order(tmp_path: Path) -> None:
    [gguf] = files(tmp_path, "x.gguf")
    files(tmp_path, "notes.bin")
    assert found(tmp_path, "FROM .").files == (gguf,)
    files(tmp_path, "pytorch_model.bin")
    with pytest.raises(InvalidRequest, match="is a pickle"):
        found(tmp_path, "FROM .")
    files(tmp_path, "model-00001-of-00002.safetensors")
    assert found(tmp_path, "FROM .") == Components(folder=tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InvalidRequest, match="no Modelfile or safetensors files found"):
        found(tmp_path, "FROM empty")


def test_several_froms_are_files_of_one_model_or_refused(tmp_path: Path) -> None:
    two = files(tmp_path, "model.gguf", "mmproj.gguf")
    assert found(tmp_path, "FROM model.gguf\nFROM mmproj.gguf\nFROM model.gguf").files == tuple(two)
    with pytest.raises(InvalidRequest, match="FROM names several models"):
        found(tmp_path, "FROM model.gguf\nFROM llama3")


def test_adapters_and_drafts_must_exist_and_a_draft_is_another_file(tmp_path: Path) -> None:
    model, lora, draft = files(tmp_path, "model.gguf", "lora.gguf", "draft/draft.gguf")
    text = "FROM model.gguf\nADAPTER lora.gguf\nDRAFT draft"
    assert found(tmp_path, text) == Components(files=(model,), adapters=(lora,), drafts=(draft,))
    for line in ("ADAPTER none.gguf", "DRAFT none.gguf"):
        with pytest.raises(InvalidRequest, match="no such file or folder"):
            found(tmp_path, f"FROM model.gguf\n{line}")
    files(tmp_path, "peft/model.safetensors")
    with pytest.raises(InvalidRequest, match=r"ADAPTER .*peft: only GGUF"):
        found(tmp_path, "FROM model.gguf\nADAPTER peft")
    files(tmp_path, "peft/adapter_config.json")
    assert found(tmp_path, "FROM model.gguf\nADAPTER peft").adapters == (tmp_path / "peft",)
    (tmp_path / "link.gguf").symlink_to(model)
    with pytest.raises(InvalidRequest, match=r"DRAFT must not reference the same local path as FROM: .*link\.gguf"):
        found(tmp_path, "FROM model.gguf\nDRAFT link.gguf")
