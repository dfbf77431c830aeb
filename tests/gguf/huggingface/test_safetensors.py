"""The safetensors reader: no file does harm."""

from __future__ import annotations

import struct
import tracemalloc
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType
from puna.gguf.huggingface.safetensors import open_safetensors

from . import folders


def opened(folder: Path, content: bytes) -> Any:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    return open_safetensors(path)


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_tensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(4, np.float32)}
    for dtype in ("F32", "F16", "BF16"):
        file = opened(tmp_path, folders.safetensors(arrays, dtype))
        assert {name: tensor.shape for name, tensor in file.tensors.items()} == {"a": (2, 3), "b": (4,)}
        assert file.tensors["a"].type is GGMLType[dtype]
        assert file.tensors["a"].read(0, 2).tobytes() == folders.stored(arrays["a"], dtype)
        assert file.file.size == (tmp_path / "model.safetensors").stat().st_size


def test_other_types_are_known_by_name_and_refused_when_asked_for(tmp_path: Path) -> None:
    file = opened(tmp_path, folders.packed({"x": entry("I64", [1], [0, 8])}, bytes(8)))
    with pytest.raises(UnsupportedModel, match="x is stored as I64"):
        file.require("x")
    with pytest.raises(InvalidGGUF, match="y is missing"):
        file.require("y")


LIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cannot be read"),
    "short": (b"1234", "truncated"),
    "an index longer than the file": (struct.pack("<Q", 1 << 60) + b"{}", "truncated"),
    "an index larger than any": (struct.pack("<Q", 1 << 25) + bytes(1 << 25), "the most we read"),
    "no JSON": (folders.packed(b"{"), "JSON"),
    "no object": (folders.packed([]), "no JSON object"),
    "deep JSON": (folders.packed(b"[" * 100_000), "JSON"),
    "not UTF-8": (folders.packed(b'{"\xff": 1}'), "JSON"),
    "a tensor twice": (folders.packed(b'{"a": 1, "a": 2}'), "twice"),
    "an entry that is no object": (folders.packed({"a": 1}), "no dtype"),
    "an entry without offsets": (folders.packed({"a": {"dtype": "F32", "shape": []}}), "no dtype"),
    "an unknown dtype": (folders.packed({"a": entry("F128")}, bytes(4)), "F128"),
    "a dtype that is no name": (folders.packed({"a": entry(["F32"])}, bytes(4)), "unknown dtype"),
    "a negative shape": (folders.packed({"a": entry(shape=[-1])}, bytes(4)), "whole numbers"),
    "a shape of fractions": (folders.packed({"a": entry(shape=[1.0])}, bytes(4)), "whole numbers"),
    "a shape of truths": (folders.packed({"a": entry(shape=[True])}, bytes(4)), "whole numbers"),
    "a shape without end": (folders.packed({"a": entry(shape=[1] * 1000)}, bytes(4)), "whole numbers"),
    "a huge shape": (folders.packed({"a": entry(shape=[2**33, 2**33])}, bytes(4)), "do not make"),
    "one offset": (folders.packed({"a": entry(offsets=[0])}, bytes(4)), "whole numbers"),
    "offsets in reverse": (folders.packed({"a": entry(offsets=[4, 0])}, bytes(4)), "truncated"),
    "offsets beyond the file": (folders.packed({"a": entry(offsets=[4, 8])}, bytes(4)), "truncated"),
    "too few bytes": (folders.packed({"a": entry(offsets=[0, 3])}, bytes(4)), "do not make"),
    "overlapping tensors": (
        folders.packed({"a": entry(offsets=[0, 4]), "b": entry(offsets=[2, 6])}, bytes(8)),
        "overlap",
    ),
    "a very long name": (folders.packed({"a" * 1000: entry()}, bytes(4)), "1000 characters"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lying_file_is_refused_with_the_reason(tmp_path: Path, name: str) -> None:
    content, reason = LIES[name]
    with pytest.raises(InvalidGGUF, match=reason) as caught:
        opened(tmp_path, content)
    assert "model.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = folders.safetensors({"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)})
    for length in range(len(content)):
        with pytest.raises(InvalidGGUF):
            opened(tmp_path, content[:length])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 260), st.binary(max_size=4), st.integers(0, 4)), min_size=1, max_size=4))
def test_a_damaged_file_is_read_or_refused_but_never_does_harm(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes, int]]
) -> None:
    content = bytearray(folders.safetensors({"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)}))
    for at, what, cut in changes:
        content[at : at + cut] = what
    tracemalloc.start()
    try:
        file = opened(tmp_path_factory.getbasetemp(), bytes(content))
        for tensor in file.tensors.values():
            assert tensor.read(0, prod(tensor.shape[:-1])).size == tensor.type.nbytes(tensor.shape)
    except InvalidGGUF:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000
