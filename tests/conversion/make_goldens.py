"""Writes goldens/mixes.json: the types that llama.cpp gives to the tensors of `shapes.SHAPES`, for every mix.

Needs llama-cpp-python, for the sake of its `llama_model_quantize`: `python -m tests.conversion.make_goldens`.
"""

from __future__ import annotations

import ctypes
import json
import tempfile
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from puna.conversion.mixes import MIXES, Mix
from puna.gguf import GGMLType, GGUFWriter, open_model
from tests.conversion.shapes import SHAPES, Shape, special_types

GOLDENS = Path(__file__).parent / "goldens" / "mixes.json"


def main() -> None:
    """Quantise each shape, unweighted and weighted, and note what is not of the mix's own type."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in SHAPES.items():
            source = Path(folder, "source.gguf")
            _write(shape, source)
            for mix in MIXES.values():
                for weighted in (False, True):
                    if not weighted and mix.name == "Q2_K_S":
                        continue  # llama.cpp refuses
                    key = f"{name}, {mix.name}" + (", weighted" if weighted else "")
                    found[key] = _types(shape, source, mix, weighted)
    GOLDENS.parent.mkdir(exist_ok=True)
    lines = [f"{json.dumps(key)}: {json.dumps(types, separators=(',', ':'))}" for key, types in sorted(found.items())]
    GOLDENS.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _write(shape: Shape, path: Path) -> None:
    writer = GGUFWriter()
    for key, value in shape.metadata().items():
        writer.add(key, value)
    for tensor in shape.tensors():
        dtype = np.float16 if tensor.type is GGMLType.F16 else np.float32
        writer.add_tensor(tensor.name, tensor.shape, tensor.type, np.zeros(tensor.shape, dtype))
    writer.write(path)


def _types(shape: Shape, source: Path, mix: Mix, weighted: bool) -> dict[str, dict[str, list[int]]]:
    target = source.with_name("target.gguf")
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread = mix.file_type, 1
    entries = [t for t in shape.tensors() if len(t.shape) > 1] if weighted else []
    ones = [np.ones(t.elements // t.shape[-2], np.float32) for t in entries]
    matrix = (llama_cpp.llama_model_imatrix_data * (len(entries) + 1))()
    for slot, tensor, values in zip(matrix, entries, ones, strict=False):
        slot.name, slot.size = tensor.name.encode(), values.size
        slot.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    if weighted:
        parameters.imatrix = matrix
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters)):
        raise SystemExit(f"llama.cpp cannot quantise {shape} to {mix.name}")
    with open_model(target) as file:
        return special_types({tensor.name: tensor.type for tensor in file.tensors.values()}, shape, mix)


if __name__ == "__main__":
    main()
