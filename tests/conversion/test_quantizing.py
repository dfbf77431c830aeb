"""Quantising whole models: the bits of the gguf package, llama.cpp's answers, and files that are whole or not there."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import gguf
from puna.conversion import import_folder, open_import
from puna.conversion.importance import Entry, ImportanceMatrix
from puna.conversion.mixes import MIXES
from puna.conversion.quantizing import quantize_model
from puna.errors import Cancelled, InvalidGGUF, InvalidRequest, StoreError, UnsupportedModel
from puna.gguf import GGMLType, GGUFWriter, ValueType, dequantize, open_model, quantize
from puna.gguf.reader import open_gguf
from tests.conversion import folders
from tests.models.running import placeholder_vocabulary, write_gguf, write_random_llama
from tests.models.test_llama_cpp import _check, _questions

CRIA = Path(str(files("puna") / "data" / "cria.gguf"))
PLAIN = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "TQ1_0", "TQ2_0", "MXFP4_MOE")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_llama(tmp_path_factory.mktemp("models") / "llama.gguf", GGMLType.F16)


def quantized(source: Path, target: Path, mix: str, importance: ImportanceMatrix | None = None) -> Path:
    with open_model(source) as file:
        quantize_model(file, target, MIXES[mix], importance=importance, threads=2)
    return target


def one_tensor(path: Path, numbers: NDArray[np.float32], kind: GGMLType = GGMLType.F32) -> Path:
    writer = GGUFWriter("llama")
    writer.add_tensor("blk.0.ffn_up.weight", numbers.shape, kind, quantize(numbers, kind))
    writer.write(path)
    return path


def importance_of(weights: Mapping[str, NDArray[np.float32]]) -> ImportanceMatrix:
    entries = {name: Entry(row, np.ones(len(row), np.float32)) for name, row in weights.items()}
    return ImportanceMatrix(entries, ("a text",), 1, 512)


@pytest.mark.parametrize("mix", PLAIN)
def test_bits_that_differ_from_the_gguf_packages(mix: str, llama: Path, tmp_path: Path) -> None:
    with open_model(llama) as before, open_model(quantized(llama, tmp_path / "out.gguf", mix)) as after:
        kinds = {tensor.type for tensor in after.tensors.values()}
        assert MIXES[mix].kind in kinds or mix == "MXFP4_MOE"  # which is for experts
        for name, tensor in after.tensors.items():
            if tensor.type not in (GGMLType.Q4_K, GGMLType.Q6_K):  # what output and embeddings get; the package cannot
                source = before.tensors[name]
                numbers = dequantize(source.data, source.type, source.shape)
                expected = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType(int(tensor.type)))
                np.testing.assert_array_equal(tensor.data, expected.reshape(-1).view(np.uint8), name)


def test_a_quantised_model_that_answers_unlike_llama_cpp(tmp_path: Path) -> None:
    with open_model(CRIA) as file:
        whole = write_gguf(tmp_path / "whole.gguf", file, GGMLType.BF16, metadata=placeholder_vocabulary())
    path = quantized(whole, tmp_path / "out.gguf", "Q4_K_M")
    _check(path, _questions(CRIA)[::2], steps=50, noise=0.4, ties=0.06)


def test_metadata_that_change_their_type(tmp_path: Path) -> None:
    source = tmp_path / "in.gguf"
    writer = GGUFWriter("llama", alignment=64)
    for number, kind in enumerate(kind for kind in ValueType if kind not in (ValueType.ARRAY, ValueType.STRING)):
        writer.add(f"one.{kind.name}", bool(number) if kind is ValueType.BOOL else number, kind)
        writer.add(f"many.{kind.name}", [True] if kind is ValueType.BOOL else [number], kind)
    writer.add("general.file_type", 1)
    writer.add("words", ["a", "b"])
    writer.add_tensor("output.weight", (2, 32), GGMLType.F32, np.ones((2, 32), np.float32))
    writer.write(source)
    quantized(source, tmp_path / "out.gguf", "Q8_0")
    with open_gguf(source) as before, open_gguf(tmp_path / "out.gguf") as after:
        kept = before.metadata.keys() - {"general.file_type", "general.alignment"}
        assert {key: after.value_types[key] for key in kept} == {key: before.value_types[key] for key in kept}
        for key in kept:
            now, was = after.metadata[key], before.metadata[key]
            assert getattr(now, "dtype", None) == getattr(was, "dtype", None)
            np.testing.assert_array_equal(np.asarray(now), np.asarray(was))
        assert after.metadata["general.file_type"] == 7
        assert after.metadata["general.quantization_version"] == 2
        assert "general.alignment" not in after.metadata


def test_shards_become_one_file_that_says_so(llama: Path, tmp_path: Path) -> None:
    writer = GGUFWriter()
    with open_model(llama) as file:
        for key, value in file.metadata.items():
            writer.add(key, value)
        for tensor in file.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
    shards = writer.write(tmp_path / "in.gguf", max_shard_size=1 << 20)
    assert len(shards) > 1
    joined = quantized(shards[0], tmp_path / "joined.gguf", "Q4_0")
    assert joined.read_bytes() == quantized(llama, tmp_path / "whole.gguf", "Q4_0").read_bytes()


def test_a_folder_needs_no_file_between(tmp_path: Path) -> None:
    folder = folders.tiny_model(tmp_path / "folder")
    import_folder(folder, tmp_path / "imported.gguf")
    with open_import(folder) as opened:
        quantize_model(opened.file, tmp_path / "direct.gguf", MIXES["Q8_0"])
    twice = quantized(tmp_path / "imported.gguf", tmp_path / "twice.gguf", "Q8_0")
    assert (tmp_path / "direct.gguf").read_bytes() == twice.read_bytes()


@pytest.mark.parametrize("mix", ["Q8_0", "Q4_K_S"])
def test_rows_that_are_no_whole_blocks(mix: str, tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).standard_normal((7, 100), np.float32)
    with open_model(quantized(one_tensor(tmp_path / "in.gguf", numbers), tmp_path / "out.gguf", mix)) as file:
        tensor = file.tensors["blk.0.ffn_up.weight"]
        assert tensor.type is GGMLType.F16
        np.testing.assert_array_equal(tensor.data, quantize(numbers, GGMLType.F16))


def test_experts_that_share_the_importance_of_one(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    numbers = random.standard_normal((3, 40, 512), np.float32)
    weights = random.gamma(0.5, 1, (3, 512)).astype(np.float32)
    name = "blk.0.ffn_up.weight"
    stacked = quantized(
        one_tensor(tmp_path / "in.gguf", numbers), tmp_path / "out.gguf", "Q4_K_S", importance_of({name: weights})
    )
    with open_model(stacked) as file:
        together = file.tensors[name].data.reshape(3, -1)
    for i in range(3):
        source, target = one_tensor(tmp_path / "in.gguf", numbers[i]), tmp_path / "one.gguf"
        with open_model(quantized(source, target, "Q4_K_S", importance_of({name: weights[i : i + 1]}))) as file:
            np.testing.assert_array_equal(together[i], file.tensors[name].data)


@pytest.mark.parametrize("mix", ["Q4_0", "Q3_K_S", "Q4_K_S"])
def test_importance_that_does_not_make_important_columns_better(mix: str, tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    numbers = random.standard_normal((64, 512), np.float32)
    weights = random.gamma(0.3, 1, (1, 512)).astype(np.float32)
    name = "blk.0.ffn_up.weight"
    source = one_tensor(tmp_path / "in.gguf", numbers)

    def harm(importance: ImportanceMatrix | None) -> float:
        with open_model(quantized(source, tmp_path / "out.gguf", mix, importance)) as file:
            tensor = file.tensors[name]
            return float((weights * (dequantize(tensor.data, tensor.type, tensor.shape) - numbers) ** 2).sum())

    assert harm(importance_of({name: weights})) < 0.95 * harm(None)


def test_where_the_importance_came_from_is_told_as_llama_cpp_tells_it(llama: Path, tmp_path: Path) -> None:
    importance = importance_of({"blk.0.attn_q.weight": np.ones((1, 256), np.float32)})
    with open_gguf(quantized(llama, tmp_path / "out.gguf", "Q4_K_S", importance)) as file:
        told = {key: value for key, value in file.metadata.items() if key.startswith("quantize.")}
        assert told == {
            "quantize.imatrix.file": "",
            "quantize.imatrix.dataset": "a text",
            "quantize.imatrix.entries_count": 1,
            "quantize.imatrix.chunks_count": 1,
        }


def refused(source: Path, mix: str, importance: ImportanceMatrix | None = None) -> Callable[[], None]:
    def attempt() -> None:
        try:
            quantized(source, source.with_name("out.gguf"), mix, importance)
        finally:
            left = sorted(path.name for path in source.parent.iterdir() if path != source)
            assert left == [], f"left behind: {left}"

    return attempt


@pytest.mark.parametrize(("odd", "error"), [(np.nan, InvalidGGUF), (np.inf, InvalidGGUF), (7e4, UnsupportedModel)])
@pytest.mark.parametrize("mix", ["Q8_0", "F16"])
def test_numbers_that_cannot_be_stored(odd: float, error: type[Exception], mix: str, tmp_path: Path) -> None:
    numbers = np.zeros((600, 512), np.float32)  # more than one slice
    numbers[599, 511] = odd
    with pytest.raises(error, match=r"blk\.0\.ffn_up\.weight"):
        refused(one_tensor(tmp_path / "in.gguf", numbers), mix)()


def test_bf16_holds_what_f16_cannot(tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "in.gguf", np.full((2, 32), 2.0**100, np.float32))
    with open_model(quantized(source, tmp_path / "out.gguf", "BF16")) as file:
        tensor = file.tensors["blk.0.ffn_up.weight"]
        assert (dequantize(tensor.data, tensor.type, tensor.shape) == 2.0**100).all()


def test_what_is_quantised_already_is_refused(tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "in.gguf", np.ones((4, 256), np.float32), GGMLType.Q4_0)
    with pytest.raises(UnsupportedModel, match="Q4_0 already, and would lose twice"):
        refused(source, "Q4_K_M")()


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("blk.0.ffn_up.weight", 128, "made for another model"),
        ("blk.7.ffn_up.weight", 256, "knows none of the model's tensors"),
    ],
)
def test_an_importance_matrix_of_another_model(name: str, columns: int, message: str, tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "in.gguf", np.ones((4, 256), np.float32))
    with pytest.raises(InvalidRequest, match=message):
        refused(source, "Q4_K_S", importance_of({name: np.ones((1, columns), np.float32)}))()


def test_q2_k_s_without_importance_is_refused(tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "in.gguf", np.ones((4, 256), np.float32))
    with pytest.raises(InvalidRequest, match="Q2_K_S needs an importance matrix"):
        refused(source, "Q2_K_S")()


def test_a_cancelled_run_leaves_something(llama: Path, tmp_path: Path) -> None:
    target, cancelled = tmp_path / "out.gguf", threading.Event()
    target.write_bytes(b"before")

    def stop_halfway(done: int, total: int) -> None:
        if done > total // 2:
            cancelled.set()

    with open_model(llama) as file, pytest.raises(Cancelled):
        quantize_model(file, target, MIXES["Q8_0"], progress=stop_halfway, cancelled=cancelled)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]


def test_a_place_that_cannot_be_written_to(llama: Path, tmp_path: Path) -> None:
    with open_model(llama) as file, pytest.raises(StoreError, match="cannot be written"):
        quantize_model(file, tmp_path / "missing" / "out.gguf", MIXES["Q8_0"])


def test_progress_that_does_not_end_at_the_end(llama: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    with open_model(llama) as file:
        quantize_model(file, tmp_path / "out.gguf", MIXES["Q8_0"], progress=lambda *step: steps.append(step))
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]
    with open_model(tmp_path / "out.gguf") as file:
        assert steps[-1][1] == sum(tensor.nbytes for tensor in file.tensors.values())


def test_memory_that_grows_with_the_model(tmp_path: Path) -> None:
    source = one_tensor(tmp_path / "in.gguf", np.ones((8192, 2048), np.float32))  # 64 MiB
    tracemalloc.start()
    try:
        quantized(source, tmp_path / "out.gguf", "Q8_0")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
