"""`puna quantize` and `puna imatrix`."""

from __future__ import annotations

from pathlib import Path

from puna.gguf import ModelConfig, open_model
from tests.cli.process import puna


def test_a_model_becomes_smaller_by_what_a_text_says_is_important(tmp_path: Path) -> None:
    text, matrix, out = tmp_path / "text.txt", tmp_path / "im.gguf", tmp_path / "out.gguf"
    text.write_text("Once upon a time there was a llama. " * 10)
    measured = puna("imatrix", "cria", str(text), str(matrix))
    assert measured.returncode == 0, measured.stderr
    assert "28 tensors" in measured.stdout
    done = puna("quantize", "cria", str(out), "q4_k_m", "--imatrix", str(matrix))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out}: Q4_K_M, 2.1 MB\n"
    with open_model(out) as file:
        assert ModelConfig.from_model(file).file_type == "Q4_K_M"
        assert file.metadata["quantize.imatrix.dataset"] == "text.txt"


def test_an_unknown_type_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    done = puna("quantize", "no-such-model", str(tmp_path / "out.gguf"), "Q4_X")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: cannot quantise to 'Q4_X': the types are F32, F16, BF16, Q8_0")


def test_a_model_is_not_written_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    assert puna("quantize", "cria", str(path), "F16").returncode == 0
    before = path.read_bytes()
    done = puna("quantize", str(path), str(path), "Q8_0")
    assert done.returncode == 1
    assert "is the model itself" in done.stderr
    assert path.read_bytes() == before


def test_a_text_that_is_no_text(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(b"\xff\xfe\x00")
    done = puna("imatrix", "cria", str(text), str(tmp_path / "im.gguf"))
    assert done.returncode == 1
    assert "cannot be read as UTF-8 text" in done.stderr
