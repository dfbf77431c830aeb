"""Which type each tensor gets, against llama.cpp's choices (goldens/mixes.json, made by make_goldens.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from puna.conversion.mixes import MIXES, Mix, in_layer_order, mix_named, tensor_types
from puna.errors import InvalidRequest
from puna.gguf import GGMLType, Tensor
from tests.conversion.shapes import SHAPES, special_types

GOLDENS = json.loads((Path(__file__).parent / "goldens" / "mixes.json").read_text())


@pytest.mark.parametrize("mix", MIXES.values(), ids=lambda mix: mix.name)
def test_a_tensor_that_gets_other_bits_than_llama_cpp_gives_it(mix: Mix) -> None:
    for name, shape in SHAPES.items():
        for weighted in (False, True):
            key = f"{name}, {mix.name}" + (", weighted" if weighted else "")
            if key in GOLDENS:
                types = tensor_types(mix, shape.metadata(), shape.tensors(), weighted=weighted)
                assert special_types(types, shape, mix) == GOLDENS[key], key


def test_goldens_that_no_test_looks_at() -> None:
    known = {f"{name}, {mix}{end}" for name in SHAPES for mix in MIXES for end in ("", ", weighted")}
    assert GOLDENS.keys() == known - {f"{name}, Q2_K_S" for name in SHAPES}


def test_a_name_in_small_letters_or_of_a_family_is_known() -> None:
    assert mix_named("q4_k") is MIXES["Q4_K_M"]
    assert mix_named("mxfp4").file_type == 38


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest, match=r"cannot quantise to 'IQ2_XXS'.*Q4_K_M"):
        mix_named("IQ2_XXS")


def test_layers_above_nine_are_sorted_as_text() -> None:
    names = ["blk.10.a", "blk.9.a", "output", "blk.9.A", "a"]
    tensors = [Tensor(name, (1,), GGMLType.F32, lambda *_: None) for name in names]  # type: ignore[arg-type]
    assert [tensor.name for tensor in in_layer_order(tensors)] == ["a", "output", "blk.9.A", "blk.9.a", "blk.10.a"]


@pytest.mark.parametrize(
    "name", ["blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.0.attn_q.bias", "position_embd.weight"]
)
def test_a_matrix_that_must_stay_is_quantised(name: str) -> None:
    tensor = Tensor(name, (256, 256), GGMLType.F32, lambda *_: None)  # type: ignore[arg-type]
    types = tensor_types(MIXES["Q4_0"], {"general.architecture": "llama"}, [tensor], weighted=False)
    assert types == {name: GGMLType.F32}
