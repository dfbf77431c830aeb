"""The GGUF writer: the gguf package and our reader read what it writes; what GGUF cannot hold is refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gguf as oracle
from puna.gguf import GGMLType, GGUFWriter, ValueType, quantize
from puna.gguf.reader import open_gguf

VALUES: dict[str, tuple[Any, ValueType | None]] = {
    "u8": (255, ValueType.UINT8),
    "i8": (-128, ValueType.INT8),
    "u16": (65535, ValueType.UINT16),
    "i16": (-32768, ValueType.INT16),
    "u32": (2**32 - 1, None),
    "i32": (-1, None),
    "u64": (2**64 - 1, None),
    "i64": (-(2**63), None),
    "f32": (0.5, None),
    "f64": (0.1, ValueType.FLOAT64),
    "true": (True, None),
    "text": ("Grüße, 世界 🦙", None),
    "empty text": ("", None),
    "words": (["a", "", "世界"], None),
    "numbers": ([1, 2, 3], None),
    "floats": ([0.5, -1.0], None),
    "bools": ([True, False], None),
    "array": (np.arange(5, dtype=np.int16), None),
    "numpy scalar": (np.uint16(7), None),
    "bytes of numbers": ([1, 255], ValueType.UINT8),
}


def write_values(path: Path) -> None:
    writer = GGUFWriter("llama")
    for key, (value, kind) in VALUES.items():
        writer.add(key, value, kind)
    writer.add_tensor("t", (2, 32), GGMLType.Q8_0, quantize(np.ones((2, 32), np.float32), GGMLType.Q8_0))
    writer.write(path)


def test_every_kind_of_value_is_read_back(tmp_path: Path) -> None:
    write_values(tmp_path / "model.gguf")
    with open_gguf(tmp_path / "model.gguf") as file:
        assert file.metadata["general.architecture"] == "llama"
        for key, (value, _) in VALUES.items():
            read: Any = file.metadata[key]
            assert (list(read) if isinstance(value, list | np.ndarray) else read) == (
                list(value) if isinstance(value, np.ndarray) else value
            ), key
        assert file.value_types["u32"] is ValueType.UINT32
        assert file.value_types["numpy scalar"] is ValueType.UINT16


def test_every_kind_of_value_is_read_by_the_gguf_package(tmp_path: Path) -> None:
    write_values(tmp_path / "model.gguf")
    reader = oracle.GGUFReader(tmp_path / "model.gguf")
    for key, (value, _) in VALUES.items():
        assert reader.fields[key].contents() == (value.tolist() if hasattr(value, "tolist") else value), key


def test_tensors_are_read_by_the_gguf_package(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((5, 64)).astype(np.float32)
    writer = GGUFWriter("llama", alignment=64)
    writer.add_tensor("quantised", table.shape, GGMLType.Q4_0, lambda: quantize(table, GGMLType.Q4_0))
    writer.add_tensor("plain", (5, 64), GGMLType.F32, table)
    writer.add_tensor("turned", (64, 5), GGMLType.F16, table.T.astype(np.float16))
    writer.write(tmp_path / "model.gguf")
    reader = oracle.GGUFReader(tmp_path / "model.gguf")
    assert reader.alignment == 64
    found = {tensor.name: tensor for tensor in reader.tensors}
    assert list(found) == ["quantised", "plain", "turned"]
    assert np.array_equal(found["plain"].data, table)
    assert np.array_equal(found["turned"].data, table.T.astype(np.float16))
    assert found["quantised"].shape.tolist() == [64, 5]
    assert np.array_equal(found["quantised"].data.reshape(-1), quantize(table, GGMLType.Q4_0))
    assert all(tensor.data_offset % 64 == 0 for tensor in reader.tensors)


def test_a_copy_of_a_file_is_the_same_file(tmp_path: Path) -> None:
    write_values(tmp_path / "model.gguf")
    with open_gguf(tmp_path / "model.gguf") as file:
        writer = GGUFWriter()
        for key, value in file.metadata.items():
            kind = file.value_types[key]
            writer.add(key, value, None if kind is ValueType.ARRAY else kind)
        for tensor in file.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, partial(tensor.read, 0, tensor.rows))
        writer.write(tmp_path / "copy.gguf")
    assert (tmp_path / "copy.gguf").read_bytes() == (tmp_path / "model.gguf").read_bytes()


def test_nested_and_empty_arrays_are_read_back(tmp_path: Path) -> None:
    writer = GGUFWriter()
    writer.add("nested", [[1, 2], ["a"], [[0.5]], []])
    writer.add("empty", [])
    writer.write(tmp_path / "model.gguf")
    with open_gguf(tmp_path / "model.gguf") as file:
        nested: Any = file.metadata["nested"]
        assert [list(item) for item in nested[:2]] == [[1, 2], ["a"]]
        assert nested[2][0].tolist() == [0.5]
        assert len(nested[3]) == len(file.metadata["empty"]) == 0  # type: ignore[arg-type]


BAD_VALUES: list[tuple[Any, ValueType | None, str]] = [
    (256, ValueType.UINT8, "does not fit"),
    (-1, ValueType.UINT32, "does not fit"),
    (2**64, None, "64 bits"),
    (1.5, ValueType.INT32, "not of the type INT32"),
    (True, ValueType.INT32, "not of the type INT32"),
    (1, ValueType.BOOL, "not of the type BOOL"),
    (1e300, None, "does not fit FLOAT32"),
    ("1", ValueType.UINT32, "not of the type"),
    (1, ValueType.STRING, "not of the type"),
    (1, ValueType.ARRAY, "not of the type"),
    (None, None, "no type for NoneType"),
    ([1, "a"], None, "several types"),
    ([1, 0.5], None, "several types"),
    ([-1, 2**64 - 1], None, "64 bits"),
    ([[1], 2], None, "several types"),
    (np.zeros((2, 2), np.int32), None, "2 dimensions"),
    (np.zeros(2, np.complex64), None, "no type for complex64"),
    (np.float16(1), None, "no type for float16"),
]


@pytest.mark.parametrize(("value", "kind", "reason"), BAD_VALUES)
def test_a_value_that_gguf_cannot_hold_is_refused_with_its_key(value: Any, kind: ValueType | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        GGUFWriter().add("the.key", value, kind)
    assert "the.key" in str(caught.value)


def test_names_and_shapes_that_gguf_cannot_hold_are_refused() -> None:
    writer = GGUFWriter("llama")
    writer.add_tensor("t", (4,), GGMLType.F32, np.zeros(4, np.float32))
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: writer.add("general.architecture", "llama"), "already there"),
        (lambda: writer.add("", 1), "a key has"),
        (lambda: writer.add("k" * 65536, 1), "a key has"),
        (lambda: writer.add("general.alignment", 64), "GGUFWriter"),
        (lambda: writer.add_tensor("t", (4,), GGMLType.F32, np.zeros(4, np.float32)), "already there"),
        (lambda: writer.add_tensor("n" * 128, (4,), GGMLType.F32, np.zeros(4, np.float32)), "name has"),
        (lambda: writer.add_tensor("u", (), GGMLType.F32, np.zeros(1, np.float32)), "dimensions"),
        (lambda: writer.add_tensor("u", (1, 0), GGMLType.F32, np.zeros(0, np.float32)), "dimensions"),
        (lambda: writer.add_tensor("u", (1,) * 5, GGMLType.F32, np.zeros(1, np.float32)), "dimensions"),
        (lambda: writer.add_tensor("u", (2, 16), GGMLType.Q8_0, np.zeros(34, np.uint8)), "blocks of 32"),
        (lambda: GGUFWriter(alignment=24), "alignment"),
        (lambda: GGUFWriter(alignment=4), "alignment"),
    ]
    for call, reason in calls:
        with pytest.raises(ValueError, match=reason):
            call()


def test_data_of_the_wrong_size_leave_no_file_behind(tmp_path: Path) -> None:
    writer = GGUFWriter("llama")
    writer.add_tensor("t", (4,), GGMLType.F32, np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="16 bytes, not the 12"):
        writer.write(tmp_path / "model.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sizes", [(2,), (4, 1), (4, 4, 1)])
def test_pieces_that_do_not_add_up_leave_no_file_behind(sizes: tuple[int, ...], tmp_path: Path) -> None:
    writer = GGUFWriter("llama")
    writer.add_tensor("x", (4,), GGMLType.F32, lambda: (np.zeros(size, np.float32) for size in sizes))
    with pytest.raises(ValueError, match=f"16 bytes, not the {4 * sum(sizes)}"):
        writer.write(tmp_path / "model.gguf")
    assert not list(tmp_path.iterdir())


def test_a_tensor_in_pieces_is_the_tensor(tmp_path: Path) -> None:
    whole = np.arange(12, dtype=np.float32).reshape(4, 3)
    writer = GGUFWriter("llama")
    writer.add_tensor("x", whole.shape, GGMLType.F32, lambda: (whole[i : i + 3] for i in range(0, 4, 3)))
    writer.write(tmp_path / "model.gguf")
    with open_gguf(tmp_path / "model.gguf") as file:
        assert file.tensors["x"].data.tobytes() == whole.tobytes()


def test_a_split_file_is_read_by_the_gguf_package(tmp_path: Path) -> None:
    writer = GGUFWriter("llama", alignment=64)
    for name in "abc":
        writer.add_tensor(name, (16,), GGMLType.F32, np.full(16, ord(name), np.float32))
    paths = writer.write(tmp_path / "model.gguf", max_shard_size=128)
    assert [path.name for path in paths] == ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]
    shards = [oracle.GGUFReader(path) for path in paths]
    assert [[tensor.name for tensor in shard.tensors] for shard in shards] == [["a", "b"], ["c"]]
    assert [shard.fields["split.no"].contents() for shard in shards] == [0, 1]
    assert shards[1].fields["general.alignment"].contents() == 64
    assert "general.architecture" not in shards[1].fields


def test_a_small_file_is_not_split(tmp_path: Path) -> None:
    writer = GGUFWriter("llama")
    writer.add_tensor("t", (4,), GGMLType.F32, np.zeros(4, np.float32))
    assert writer.write(tmp_path / "model.gguf", max_shard_size=1) == [tmp_path / "model.gguf"]


SCALARS = (bool, int, float, str)
scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(width=32, allow_nan=False),
    st.text(max_size=20),
)
arrays = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1)), st.lists(st.text(max_size=5)), st.lists(st.booleans()),
    st.lists(st.floats(width=32, allow_nan=False)),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=30), st.one_of(scalars, arrays), max_size=8))
def test_any_metadata_come_back(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    writer = GGUFWriter()
    for key, value in values.items():
        writer.add(f"any.{key}", value)
    writer.write(path)
    with open_gguf(path) as file:
        read = {key: value if isinstance(value, SCALARS) else list(value) for key, value in file.metadata.items()}
    assert read == {f"any.{key}": value for key, value in values.items()}
