"""Importance matrices: measured as defined, written as llama.cpp writes them, read without trust."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import gguf
from puna import tokenizer
from puna.conversion.importance import Entry, ImportanceMatrix, measure_importance, read_importance
from puna.errors import Cancelled, InvalidGGUF, InvalidRequest
from puna.gguf import GGMLType, GGUFWriter, dequantize, open_model

CRIA = Path(str(files("puna") / "data" / "cria.gguf"))
TEXT = "Once upon a time there was a small llama who counted the stars. " * 80  # more than one chunk


@pytest.fixture(scope="module")
def measured() -> ImportanceMatrix:
    with open_model(CRIA) as file:
        return measure_importance(file, TEXT, dataset="stars.txt", threads=2)


def test_sums_that_are_not_those_of_what_a_matrix_meets(measured: ImportanceMatrix) -> None:
    """The first layer's queries meet the embeddings, normalised: the definition needs no model."""
    with open_model(CRIA) as file:
        tokens = tokenizer.load(file).encode(TEXT)[: measured.chunks * 512]
        if (known := tokenizer.load(file)).add_bos and known.bos_id is not None:
            tokens[::512] = [known.bos_id] * measured.chunks
        table, norm = file.tensors["token_embd.weight"], file.tensors["blk.0.attn_norm.weight"]
        x = dequantize(table.data, table.type, table.shape)[tokens].astype(np.float64)
        x /= np.sqrt((x**2).mean(axis=1, keepdims=True) + file.metadata["llama.attention.layer_norm_rms_epsilon"])
        x *= dequantize(norm.data, norm.type, norm.shape)
    assert measured.chunks > 1
    entry = measured.entries["blk.0.attn_q.weight"]
    np.testing.assert_allclose(entry.sums[0], (x**2).sum(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(entry.counts, [len(tokens)])


def test_matrices_that_meet_the_same_differ_or_one_is_missing(measured: ImportanceMatrix) -> None:
    parts = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    assert measured.entries.keys() == {f"blk.{layer}.{part}.weight" for layer in range(4) for part in parts}
    for layer in range(4):
        for one, other in (("attn_q", "attn_k"), ("attn_q", "attn_v"), ("ffn_gate", "ffn_up")):
            first, second = (measured.entries[f"blk.{layer}.{part}.weight"].sums for part in (one, other))
            np.testing.assert_array_equal(first, second)


def test_threads_or_company_that_change_the_sums(measured: ImportanceMatrix) -> None:
    with open_model(CRIA) as file:
        again = measure_importance(file, TEXT, threads=1)
    for name, entry in measured.entries.items():
        np.testing.assert_array_equal(again.entries[name].sums, entry.sums)


def test_the_last_layer_sees_every_row(measured: ImportanceMatrix) -> None:
    """A step leaves out the rows of the last layer of which nothing is wanted."""
    first, last = (measured.entries[f"blk.{layer}.ffn_up.weight"].weights.mean() for layer in (0, 3))
    assert last > first / 10


def test_what_is_written_is_read(measured: ImportanceMatrix, tmp_path: Path) -> None:
    measured.save(tmp_path / "im.gguf")
    found = read_importance(tmp_path / "im.gguf")
    assert (found.datasets, found.chunks, found.chunk_size) == (("stars.txt",), measured.chunks, 512)
    assert found.source == "im.gguf"
    assert found.entries.keys() == measured.entries.keys()
    for name, entry in measured.entries.items():
        np.testing.assert_array_equal(found.entries[name].sums, entry.sums)
        np.testing.assert_array_equal(found.entries[name].weights, entry.sums / entry.counts[:, None])


def test_a_file_that_is_not_as_llama_cpp_writes_it(measured: ImportanceMatrix, tmp_path: Path) -> None:
    measured.save(tmp_path / "im.gguf")
    reader = gguf.GGUFReader(tmp_path / "im.gguf")
    assert reader.fields["general.type"].contents() == gguf.GGUFType.IMATRIX
    assert reader.fields[gguf.Keys.IMatrix.DATASETS].contents() == ["stars.txt"]
    assert reader.fields[gguf.Keys.IMatrix.CHUNK_COUNT].types == [gguf.GGUFValueType.UINT32]
    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    assert shapes["blk.0.ffn_down.weight.in_sum2"] == [512, 1]  # columns, matrices
    assert shapes["blk.0.ffn_down.weight.counts"] == [1, 1]


def test_an_expert_that_was_never_used_counts_evenly() -> None:
    entry = Entry(np.array([[4, 8], [0, 0]], np.float32), np.array([4, 0], np.float32))
    np.testing.assert_array_equal(entry.weights, [[1, 2], [1, 1]])


def damaged(path: Path, sums: list[list[float]], counts: list[float], kind: str = "imatrix") -> Path:
    writer = GGUFWriter()
    writer.add("general.type", kind)
    writer.add_tensor("a.in_sum2", (len(sums), len(sums[0])), GGMLType.F32, np.array(sums, np.float32))
    writer.add_tensor("a.counts", (len(counts), 1), GGMLType.F32, np.array(counts, np.float32))
    writer.write(path)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: damaged(path, [[1, 2]], [1, 1]), "no such number of counts"),
        (lambda path: damaged(path, [[1, -2]], [1]), "not negative"),
        (lambda path: damaged(path, [[1, np.nan]], [1]), "finite"),
        (lambda path: damaged(path, [[1, 2]], [np.inf]), "finite"),
        (lambda path: damaged(path, [[1, 2]], [1], "model"), "no importance matrix"),
        (lambda path: path.write_bytes(b"\x07\0\0\0" + bytes(64)) and path, "not a GGUF file"),
    ],
)
def test_a_file_that_lies(make: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidGGUF, match=message):
        read_importance(make(tmp_path / "im.gguf"))


def test_a_text_that_is_too_short_is_refused() -> None:
    with open_model(CRIA) as file, pytest.raises(InvalidRequest, match="at least 32"):
        measure_importance(file, "Once upon a time")


def test_a_short_text_is_one_short_chunk() -> None:
    with open_model(CRIA) as file:
        found = measure_importance(file, "Once upon a time there was a llama. " * 8)
    assert found.chunks == 1
    assert 32 <= found.chunk_size < 512
    assert found.entries["blk.3.ffn_down.weight"].counts.tolist() == [found.chunk_size]


def test_a_cancelled_measurement_goes_on() -> None:
    cancelled, seen = threading.Event(), []

    def stop(done: int, _total: int) -> None:
        seen.append(done)
        cancelled.set()

    with open_model(CRIA) as file, pytest.raises(Cancelled):
        measure_importance(file, TEXT, progress=stop, cancelled=cancelled)
    assert seen == [1]


def test_more_chunks_than_were_asked_for() -> None:
    with open_model(CRIA) as file:
        assert measure_importance(file, TEXT, chunks=1).chunks == 1
