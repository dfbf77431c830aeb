"""Logits against transformers' on tiny random models of every kind (goldens made by `make_goldens.py`).

The measure is the largest error over the range of the golden's logits; for quantised weights also the cosine, which
the issue asks for. Our activations are quantised where the weights are: what that alone does is measured apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.gguf import GGMLType, dequantize, open_model, quantize
from tests.models import tiny
from tests.models.running import Logits, loaded, logits, write_gguf

GOLDENS = Path(__file__).parent / "goldens"
ROUNDED = ("llama", "qwen2_tied")  # the models with goldens of every type
FIRST = [name for name in tiny.CONFIGS if name.startswith(("llama", "mistral", "qwen2"))]
F32_BOUND = 1e-4  # the issue's
F16_CACHE_BOUND = 5e-4  # half a unit in the last place of a key or value: 2**-11


def golden(name: str, kind: str = "f32") -> Logits:
    with np.load(GOLDENS / f"{name}.npz") as arrays:
        found: Logits = arrays[kind]
    return found


def run(path: Path, name: str, *, kv_type: str = "f32", tokens: int = tiny.TOKENS) -> Logits:
    """Our logits at the positions that the goldens show, as far as `tokens` go."""
    with loaded(path, tokens=tokens, context=tokens, kv_type=kv_type) as model:
        return logits(model, tiny.prompt(name)[:tokens])[[at for at in tiny.SHOWN if at < tokens]]


def error(ours: Logits, theirs: Logits) -> float:
    return float(np.abs(ours - theirs).max() / np.ptp(theirs))


def cosine(ours: Logits, theirs: Logits) -> float:
    """Of all logits together."""
    a, b = ours.astype(np.float64).ravel(), theirs.astype(np.float64).ravel()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def least_cosine(ours: Logits, theirs: Logits) -> float:
    """Of the logits of one position, the worst of them."""
    return min(cosine(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", FIRST)
def test_an_f16_cache_costs_no_more_than_the_rounding_of_keys_and_values(name: str, tmp_path: Path) -> None:
    ours = run(tiny.write_folder(tmp_path, name), name, kv_type="f16")
    assert F32_BOUND / 10 < error(ours, golden(name)) < F16_CACHE_BOUND  # and the option does something


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("llama3_rope", {"rope_scaling": None}),
        ("llama3_rope", {"rope_theta": 20000.0}),
        ("llama_linear_rope", {"rope_parameters": None}),
        ("llama", {"rms_norm_eps": 1e-2}),
    ],
)
def test_what_the_goldens_vouch_for_shows_in_them(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    wrong = run(tiny.write_folder(tmp_path, name, changes=changes), name)
    assert error(wrong, golden(name)) > 10 * F32_BOUND


@pytest.mark.parametrize("name", ["llama_bias", "qwen2"])
@pytest.mark.parametrize("part", ["attn_q", "attn_v", "attn_output"])
def test_no_bias_could_be_dropped_unseen(name: str, part: str, tmp_path: Path) -> None:
    def drop(arrays: dict[str, NDArray[np.float32]]) -> None:
        del arrays[f"blk.0.{part}.bias"]

    with open_model(tiny.write_folder(tmp_path, name)) as folder:
        if f"blk.0.{part}.bias" not in folder.tensors:
            assert (name, part) == ("qwen2", "attn_output")  # which has none
            return
        path = write_gguf(tmp_path / "model.gguf", folder, GGMLType.F32, change=drop)
    assert error(run(path, name), golden(name)) > 10 * F32_BOUND


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_16_bit_weights_are_used_exactly_as_stored(name: str, dtype: str, tmp_path: Path) -> None:
    ours = run(tiny.write_folder(tmp_path, name, dtype=dtype), name)
    assert error(ours, golden(name, dtype.lower())) < F32_BOUND
    assert error(ours, golden(name)) > F32_BOUND  # so a golden of other weights would have been noticed


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("kind", [GGMLType.Q8_0, GGMLType.Q4_0])
def test_quantised_weights_differ_from_the_golden_by_quantised_activations_alone(
    name: str, kind: GGMLType, tmp_path: Path
) -> None:
    def dequantised(array: NDArray[np.float32]) -> NDArray[np.float32]:
        return dequantize(quantize(array, kind), kind, array.shape)

    theirs = golden(name, kind.name.lower())
    weights = tiny.rounded(tiny.weights(name), dequantised)
    with open_model(tiny.write_folder(tmp_path / "folder", name)) as folder:
        quantised = run(write_gguf(tmp_path / "model.gguf", folder, kind), name)
    in_f32 = run(tiny.write_folder(tmp_path / "dequantised", name, tensors=weights), name)
    assert error(in_f32, theirs) < F32_BOUND  # the same weights, activations in float32
    assert least_cosine(quantised, theirs) > 0.9999


@pytest.mark.parametrize("name", ROUNDED)
def test_q8_0_keeps_the_direction_of_the_unquantised_logits(name: str, tmp_path: Path) -> None:
    with open_model(tiny.write_folder(tmp_path / "folder", name)) as folder:
        ours = run(write_gguf(tmp_path / "model.gguf", folder, GGMLType.Q8_0), name, kv_type="f16")
    assert cosine(ours, golden(name)) > 0.9999
    assert least_cosine(ours, golden(name)) > 0.9998


def test_a_sliding_window_hides_what_is_older_and_nothing_else(tmp_path: Path) -> None:
    name, window = "mistral_window", tiny.CONFIGS["mistral_window"]["sliding_window"]
    assert window < tiny.TOKENS
    for other in (None, window - 1, window + 1):  # what to ignore the window, or to miscount it, would give
        wrong = run(tiny.write_folder(tmp_path, name, changes={"sliding_window": other}), name)
        assert error(wrong, golden(name)) > 10 * F32_BOUND
