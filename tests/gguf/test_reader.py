"""The GGUF reader: what valid files mean, and that no other file does harm."""

from __future__ import annotations

import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gguf as oracle
from puna.errors import InvalidGGUF, ModelNotFound, UnsupportedModel
from puna.gguf import GGMLType, GGUFWriter, ModelConfig, ValueType, dequantize, open_model
from puna.gguf.cursor import StringArray
from puna.gguf.reader import GGUFFile, open_gguf

from . import files


def opened(tmp_path: Path, content: bytes) -> GGUFFile:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return open_gguf(path)


def test_a_valid_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    with opened(tmp_path, files.valid()) as file:
        assert file.metadata["general.architecture"] == "llama"
        assert file.metadata["a.bool"] is True
        assert file.metadata["a.float"] == 0.1
        assert list(file.metadata["tokenizer.ggml.tokens"]) == ["a", "é", ""]  # type: ignore[arg-type]
        numbers = file.metadata["an.array"]
        assert isinstance(numbers, np.ndarray)
        assert numbers.dtype == np.int16
        assert numbers.tolist() == [-1, 0, 1]
        nested = file.metadata["nested"]
        assert isinstance(nested, tuple)
        assert [list(item) for item in nested] == [[7], []]
        assert file.value_types["a.float"] is ValueType.FLOAT64
        assert file.size == len(files.valid())
        assert list(file.tensors) == ["token_embd.weight", "output_norm.weight"]
        assert file.tensors["token_embd.weight"].shape == (3, 32)
        assert file.tensors["token_embd.weight"].type is GGMLType.Q8_0
        assert file.tensors["token_embd.weight"].data.tobytes() == bytes(range(102))
        norm = file.tensors["output_norm.weight"]
        assert dequantize(norm.data, norm.type, norm.shape).tolist() == [0, 1, 2, 3, 4]


def test_version_2_is_read_like_version_3(tmp_path: Path) -> None:
    assert opened(tmp_path, files.gguf([files.u32_key("a", 5)], version=2)).metadata["a"] == 5


def test_tensor_data_cannot_be_written_to(tmp_path: Path) -> None:
    data = opened(tmp_path, files.valid()).tensors["token_embd.weight"].data
    with pytest.raises(ValueError, match="read-only"):
        data[0] = 1


def test_arrays_outlive_close(tmp_path: Path) -> None:
    file = opened(tmp_path, files.valid())
    data, tokens = file.tensors["token_embd.weight"].data, file.metadata["tokenizer.ggml.tokens"]
    file.close()
    assert data[5] == 5
    assert list(tokens) == ["a", "é", ""]  # type: ignore[arg-type]
    file.close()


def test_close_unmaps_the_file(tmp_path: Path) -> None:
    file = opened(tmp_path, files.valid())
    mapping = file._files[0].map
    file.close()
    assert mapping.closed


def test_string_arrays_behave_like_lists(tmp_path: Path) -> None:
    words = opened(tmp_path, files.valid()).metadata["tokenizer.ggml.tokens"]
    assert isinstance(words, StringArray)
    assert words == ["a", "é", ""]
    assert words != ["a", "é"]
    assert (words[-2], words[1:], words[::-1], "é" in words) == ("é", ["é", ""], ["", "é", "a"], True)
    for index in (3, -4):
        with pytest.raises(IndexError):
            words[index]


@pytest.mark.parametrize("kind", [kind for kind in ValueType if kind < ValueType.STRING or kind > ValueType.ARRAY])
def test_every_number_type_is_read_as_the_gguf_package_writes_it(tmp_path: Path, kind: ValueType) -> None:
    path, value = tmp_path / "model.gguf", True if kind is ValueType.BOOL else 100
    writer = oracle.GGUFWriter(path, "llama")
    writer.add_key_value("scalar", value, oracle.GGUFValueType(kind))
    writer.add_key_value("array", [value] * 3, oracle.GGUFValueType.ARRAY, oracle.GGUFValueType(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    file = open_gguf(path)
    assert file.metadata["scalar"] == value
    assert type(file.metadata["scalar"]) is {"b": bool, "f": float}.get(
        np.array(value).dtype.kind, type(file.metadata["scalar"])
    )
    assert list(file.metadata["array"]) == [value] * 3  # type: ignore[arg-type]


def test_what_the_gguf_package_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = oracle.GGUFWriter(path, "llama")
    writer.add_context_length(4096)
    writer.add_token_list(["a", "ü", "字"])
    writer.add_token_scores([0.5, -1.0, 2.0])
    table = np.random.default_rng(0).standard_normal((7, 64)).astype(np.float32)
    writer.add_tensor(
        "a",
        oracle.quants.quantize(table, oracle.GGMLQuantizationType.Q4_0),
        raw_dtype=oracle.GGMLQuantizationType.Q4_0,
    )
    writer.add_tensor("b", table.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_model(path) as file:
        assert file.metadata["llama.context_length"] == 4096
        assert file.metadata["tokenizer.ggml.tokens"] == ["a", "ü", "字"]
        assert list(file.metadata["tokenizer.ggml.scores"]) == [0.5, -1.0, 2.0]  # type: ignore[arg-type]
        assert file.folder is None
        assert (file.tensors["a"].shape, file.tensors["a"].type) == ((7, 64), GGMLType.Q4_0)
        b = file.tensors["b"]
        assert np.array_equal(dequantize(b.data, b.type, b.shape), table.astype(np.float16).astype(np.float32))


HUGE = 1 << 60
F32 = GGMLType.F32
ONE = struct.pack("<f", 1.0)

LIES = {
    "empty": (b"", "cannot be read"),
    "another format": (b"PK\3\4" + bytes(100), "not a GGUF"),
    "three bytes": (b"GGU", "not a GGUF"),
    "only the magic": (b"GGUF", "version"),
    "version 1": (files.gguf(version=1), "version 1"),
    "an empty key": (files.gguf([files.u32_key("", 1)]), "key 0 is empty"),
    "version 4": (files.gguf(version=4), "newer"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "2^60 keys": (files.gguf(key_count=HUGE), "keys"),
    "2^60 tensors": (files.gguf(tensor_count=HUGE), "tensors"),
    "more keys than there are": (
        files.gguf([files.u32_key("a", 1)], key_count=9),
        "key 1 is empty|truncated",
    ),
    "more tensors than there are": (files.gguf(tensor_count=3), "truncated|dimensions"),
    "a key of 2^60 bytes": (files.gguf([struct.pack("<Q", HUGE)]), "most allowed"),
    "a string of 2^60 bytes": (files.gguf([files.key("a", 8, struct.pack("<Q", HUGE))]), "truncated"),
    "an array of 2^60 numbers": (
        files.gguf([files.array_key("a", ValueType.UINT64, HUGE, b"")]),
        "truncated",
    ),
    "an array of 2^60 strings": (
        files.gguf([files.array_key("a", ValueType.STRING, HUGE, b"")]),
        "truncated",
    ),
    "an array of 2^60 arrays": (files.gguf([files.array_key("a", ValueType.ARRAY, HUGE, b"")]), "truncated"),
    "a string in an array of 2^60 bytes": (
        files.gguf([files.array_key("a", ValueType.STRING, 2, struct.pack("<QQ", HUGE, 1))]),
        r"a\[1\]",
    ),
    "a last string in an array that is too long": (
        files.gguf([files.array_key("a", ValueType.STRING, 1, struct.pack("<Q", 2**64 - 1))]),
        r"a\[0\]",
    ),
    "an unknown value type": (files.gguf([files.key("a", 13, b"")]), "value type 13"),
    "an unknown item type": (files.gguf([files.array_key("a", 99, 1, b"1234")]), "value type 99"),
    "a bool of 2": (files.gguf([files.key("a", ValueType.BOOL, b"\2")]), "boolean"),
    "an array of bools of 255": (files.gguf([files.array_key("a", ValueType.BOOL, 2, b"\1\xff")]), "boolean"),
    "a duplicate key": (files.gguf([files.u32_key("a", 1)] * 2), "twice"),
    "a key that is not UTF-8": (files.gguf([files.key(b"\xff", ValueType.UINT32, files.u32(1))]), "UTF-8"),
    "a string that is not UTF-8": (files.gguf([files.text_key("a", b"\xc3")]), "UTF-8"),
    "an alignment of 0": (files.gguf([files.u32_key("general.alignment", 0)]), "alignment"),
    "an alignment of 48": (files.gguf([files.u32_key("general.alignment", 48)]), "alignment"),
    "an alignment in words": (files.gguf([files.text_key("general.alignment", "32")]), "alignment"),
    "an alignment of 2^31": (
        files.gguf([files.u32_key("general.alignment", 1 << 31)], [files.tensor_info("t", (1,), F32, 0)], ONE),
        "truncated",
    ),
    "a tensor beyond the file": (files.gguf([], [files.tensor_info("t", (2,), F32, 0)], ONE), "truncated"),
    "an offset beyond the file": (
        files.gguf([], [files.tensor_info("t", (1,), F32, 1 << 63)], ONE),
        "truncated",
    ),
    "an offset off the alignment": (
        files.gguf([], [files.tensor_info("t", (1,), F32, 4)], ONE * 9),
        "alignment",
    ),
    "dimensions whose product overflows": (
        files.gguf([], [files.tensor_info("t", (1 << 33, 1 << 33), F32, 0)], ONE),
        "truncated",
    ),
    "dimensions whose product overflows to 4": (
        files.gguf([], [files.tensor_info("t", ((1 << 62) + 1, 4), F32, 0)], ONE * 4),
        "truncated",
    ),
    "a dimension of 0": (files.gguf([], [files.tensor_info("t", (4, 0), F32, 0)], ONE), "dimension of 0"),
    "no dimensions": (files.gguf([], [files.tensor_info("t", (), F32, 0)], ONE), "0 dimensions"),
    "2^32 - 1 dimensions": (
        files.gguf([], [files.tensor_info("t", (1,), F32, 0, 2**32 - 1)], ONE),
        "dimensions",
    ),
    "half a block": (
        files.gguf([], [files.tensor_info("t", (16, 2), GGMLType.Q8_0, 0)], bytes(34)),
        "blocks of 32",
    ),
    "an unknown tensor type": (
        files.gguf([], [files.tensor_info("t", (1,), 1000, 0)], ONE),
        "unknown type 1000",
    ),
    "a withdrawn tensor type": (
        files.gguf([], [files.tensor_info("t", (32,), 31, 0)], bytes(99)),
        "Q4_0_4_4",
    ),
    "overlapping tensors": (
        files.gguf([], [files.tensor_info("t", (9,), F32, 0), files.tensor_info("u", (9,), F32, 32)], ONE * 17),
        "overlap",
    ),
    "a duplicate tensor": (
        files.gguf([], [files.tensor_info("t", (1,), F32, 0), files.tensor_info("t", (1,), F32, 32)], ONE * 9),
        "twice",
    ),
    "a tensor's name that is not UTF-8": (
        files.gguf([], [files.tensor_info(b"\x80", (1,), F32, 0)], ONE),
        "UTF-8",
    ),
    "a tensor's name that is too long": (
        files.gguf([], [files.tensor_info("t" * 128, (1,), F32, 0)], ONE),
        "128 bytes",
    ),
    "arrays nested without end": (
        files.gguf([files.key("a", 9, struct.pack("<IQ", 9, 1) * 100_000)]),
        "nests",
    ),
    "very many nested arrays": (
        files.gguf([files.array_key("a", 9, 100_000, struct.pack("<IQ", 4, 0) * 100_000)]),
        "nests",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_file_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    content, reason = LIES[name]
    start = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidGGUF, match=reason) as caught:
            opened(tmp_path, content)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000 + 4 * len(content)
    finally:
        tracemalloc.stop()
    assert str(tmp_path / "model.gguf") in str(caught.value)
    assert time.process_time() - start < 2


def test_a_token_that_is_not_utf8_is_refused_when_it_is_read(tmp_path: Path) -> None:
    content = files.gguf([files.array_key("a", ValueType.STRING, 2, files.string("x") + files.string(b"\xff"))])
    words = opened(tmp_path, content).metadata["a"]
    assert isinstance(words, StringArray)
    assert words[0] == "x"
    with pytest.raises(InvalidGGUF, match=r"a\[1\] is not UTF-8"):
        words[1]
    with pytest.raises(InvalidGGUF, match=r"a\[1\] is not UTF-8"):
        list(words)


def test_a_sparse_file_with_a_string_of_a_terabyte_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(files.gguf([files.key("a", ValueType.STRING, struct.pack("<Q", 1 << 39))]))
    try:
        with path.open("r+b") as file:
            file.truncate(1 << 40)
    except OSError:
        pytest.skip("the file system has no sparse files of this size")
    with pytest.raises(InvalidGGUF, match="largest header"):
        open_gguf(path)


def test_a_missing_file_and_a_folder_have_errors_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such"):
        open_model(tmp_path / "nothing.gguf")
    with pytest.raises(ModelNotFound, match="no such"):
        open_gguf(tmp_path / "nothing.gguf")
    with pytest.raises(InvalidGGUF, match="folder"):
        open_gguf(tmp_path)


def test_every_truncation_of_a_valid_file_is_refused(tmp_path: Path) -> None:
    content = files.valid()
    for length in range(len(content)):
        with pytest.raises(InvalidGGUF):
            opened(tmp_path, content[:length])


mutations = st.one_of(
    st.tuples(st.just("set"), st.integers(0, 700), st.binary(min_size=1, max_size=9)),
    st.tuples(st.just("insert"), st.integers(0, 700), st.binary(min_size=1, max_size=9)),
    st.tuples(st.just("cut"), st.integers(0, 700), st.binary(min_size=1, max_size=9)),
    st.tuples(
        st.just("set"),
        st.integers(0, 700),
        st.sampled_from([2**n for n in range(64)]).map(lambda n: n.to_bytes(8, "little")),
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(mutations, min_size=1, max_size=4))
def test_a_damaged_file_is_read_or_refused_but_never_does_harm(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, bytes]]
) -> None:
    content = bytearray(files.valid())
    for how, at, what in changes:
        if how == "insert":
            content[at:at] = what
        else:
            content[at : at + len(what)] = what if how == "set" else b""
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with open_gguf(path) as file:
            for value in file.metadata.values():
                repr(value)
                list(value) if isinstance(value, StringArray) else None
            for tensor in file.tensors.values():
                dequantize(tensor.data, tensor.type, tensor.shape)
            ModelConfig.from_model(file)
    except (InvalidGGUF, UnsupportedModel):
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5_000_000


def vocabulary(path: Path, tokens: int, merges: int) -> None:
    writer = GGUFWriter("qwen2")
    writer.add("tokenizer.ggml.tokens", [f"token{i}" for i in range(tokens)])
    writer.add("tokenizer.ggml.token_type", np.ones(tokens, np.int32))
    writer.add("tokenizer.ggml.merges", [f"a{i} b{i}" for i in range(merges)])
    writer.write(path)


def test_a_vocabulary_of_qwen_2s_size_opens_at_once_and_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    vocabulary(path, 151_936, 151_387)
    times = []
    for _ in range(3):
        start = time.process_time()
        file = open_gguf(path)
        times.append(time.process_time() - start)
    assert min(times) < 0.3
    start = time.process_time()
    tokens = list(file.metadata["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
    assert time.process_time() - start < 0.5
    assert tokens[-1] == "token151935"
    tracemalloc.start()
    open_gguf(path)
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


class TestSplitFiles:
    def write(self, folder: Path) -> list[Path]:
        writer = GGUFWriter("llama")
        writer.add("llama.block_count", 3)
        for name in ("a", "b", "c"):
            writer.add_tensor(name, (4,), GGMLType.F32, np.full(4, ord(name), np.float32))
        return writer.write(folder / "model.gguf", max_shard_size=32)

    def test_any_shard_opens_all(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path)
        assert [path.name for path in paths] == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
        for path in paths:
            with open_model(path) as file:
                assert file.path == paths[0]
                assert file.metadata["llama.block_count"] == 3
                assert file.size == sum(path.stat().st_size for path in paths)
                first = {name: tensor.data.view(np.float32)[0] for name, tensor in file.tensors.items()}
                assert first == {"a": ord("a"), "b": ord("b"), "c": ord("c")}

    def test_a_missing_shard_is_named(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path)
        paths[1].unlink()
        with pytest.raises(InvalidGGUF, match=r"shard 2 of 3 is missing.*model-00002-of-00003\.gguf"):
            open_gguf(paths[2])

    def test_shards_under_other_names_are_refused(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path)
        with pytest.raises(InvalidGGUF, match="original name"):
            open_gguf(paths[0].rename(tmp_path / "renamed.gguf"))

    def test_swapped_shards_are_refused(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path)
        paths[1].write_bytes(paths[2].read_bytes())
        with pytest.raises(InvalidGGUF, match="its name says otherwise"):
            open_gguf(paths[0])

    def test_a_tensor_in_two_shards_is_refused(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path)
        content = paths[1].read_bytes()
        paths[1].write_bytes(content.replace(files.string("b"), files.string("a")))
        with pytest.raises(InvalidGGUF, match="tensor a is in an earlier shard"):
            open_gguf(paths[0])

    def test_a_wrong_tensor_count_is_refused(self, tmp_path: Path) -> None:
        paths = self.write(tmp_path)
        content = paths[0].read_bytes()
        right, wrong = (files.key("split.tensors.count", ValueType.INT32, files.u32(n)) for n in (3, 4))
        paths[0].write_bytes(content.replace(right, wrong))
        with pytest.raises(InvalidGGUF, match=r"split\.tensors\.count is 4"):
            open_gguf(paths[0])

    def test_a_split_count_that_is_no_number_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidGGUF, match=r"split\.count"):
            opened(tmp_path, files.gguf([files.text_key("split.count", "2")]))

    def test_what_the_gguf_package_splits_is_read(self, tmp_path: Path) -> None:
        writer = oracle.GGUFWriter(tmp_path / "m.gguf", "llama", split_max_tensors=1)
        for name in ("a", "b"):
            writer.add_tensor(name, np.full((2, 4), 7, np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        with open_model(tmp_path / "m-00002-of-00002.gguf") as file:
            assert set(file.tensors) == {"a", "b"}
