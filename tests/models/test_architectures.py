"""Every architecture against its oracles: logits of transformers, greedy tokens of llama.cpp, from folder and GGUF."""

from __future__ import annotations

from pathlib import Path

import pytest

from puna.gguf.huggingface.architectures import ARCHITECTURES as CLASSES
from puna.gguf.huggingface.encoders import ENCODERS
from puna.models import ARCHITECTURES
from tests.models import mixtures, tiny, tiny_encoders
from tests.models.agreement import measure
from tests.models.test_oracle import F32_BOUND

# Rounding weights and activations to 8 bits costs 1e-4; more where a norm writes to the residual stream: it keeps the
# rounding errors of a branch as large as the branch.
Q8_0_BOUND = 0.9999
Q8_0_BOUND_POST_NORM = 0.9998
POST_NORM = ("olmo2", "olmo3", "exaone4", "exaone4_window", "glm4")


MODELS = {**tiny.CONFIGS, **mixtures.CONFIGS}


@pytest.mark.parametrize("name", MODELS)
def test_it_agrees_with_transformers_and_llama_cpp(name: str, tmp_path: Path) -> None:
    found = measure(name, tmp_path)
    print(found)
    assert found.error < F32_BOUND
    assert found.imported_alike
    assert found.cosine > (Q8_0_BOUND_POST_NORM if name in POST_NORM else Q8_0_BOUND)
    assert found.alike is None or found.alike == found.chosen


def test_every_architecture_has_a_tiny_model() -> None:
    """`measure` tells which one each of them is of."""
    proved = {CLASSES[config["architectures"][0]].name for config in MODELS.values()}
    encoders = {ENCODERS[config["architectures"][0]].name for config in tiny_encoders.CONFIGS.values()}
    assert proved | encoders == set(ARCHITECTURES)


def test_the_page_lists_every_architecture_and_every_tiny_model_of_it() -> None:
    """Else `python -m scripts.architecture_docs` was forgotten."""
    page = (Path(__file__).parents[2] / "docs" / "architectures.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    listed = [row for row in rows if row[0] != "GGUF name"]
    assert {row[0] for row in listed} == set(ARCHITECTURES)
    assert {row[2] for row in listed} == {*MODELS, *tiny_encoders.CONFIGS}
