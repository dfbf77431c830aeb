"""Model files for benchmarks are valid, of the types they say, and repeat a passage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bench.make_model import FILE_TYPES, SHAPES, model_path, passage, successor, write

from puna import models
from puna.gguf import GGMLType, open_model
from puna.tokenizer import load as load_tokenizer


@pytest.mark.parametrize(("shape", "file_type"), [*(("tiny", kind) for kind in FILE_TYPES), ("tiny-moe", "Q4_K_M")])
def test_a_model_of_each_type_has_finite_logits_and_repeats_a_passage(
    shape: str, file_type: str, tmp_path: Path
) -> None:
    path = model_path(tmp_path, shape, file_type)
    write(path, SHAPES[shape], file_type)
    model = models.load(open_model(path), threads=1, num_blocks=10)
    try:
        logits = model.forward([models.Chunk(passage()[-40:], 0, range(10), outputs=16)])
        assert np.isfinite(logits).all()
        assert logits.argmax(1).tolist() == [successor(token) for token in passage()[-16:]]
    finally:
        model.close()


def test_the_passage_is_a_circle() -> None:
    assert [successor(token) for token in passage()] == [*passage()[1:], passage()[0]]


def test_q4_k_m_mixes_types_as_llama_quantize_does(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write(path, SHAPES["tiny"], "Q4_K_M")
    types = {name: tensor.type for name, tensor in open_model(path).tensors.items()}
    assert types["output.weight"] is GGMLType.Q6_K
    assert {types[f"blk.{i}.ffn_up.weight"] for i in range(2)} == {GGMLType.Q4_K}
    assert types["blk.1.attn_v.weight"] is GGMLType.Q6_K  # the last eighth of the layers


def test_a_letter_is_a_token_so_that_a_client_knows_how_long_its_text_is(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write(path, SHAPES["tiny"], "Q8_0")
    assert len(load_tokenizer(open_model(path)).encode("Puna" * 50)) == 200
