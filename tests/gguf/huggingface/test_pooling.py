"""How a folder says its vectors are made: sentence-transformers' files, for encoders and for models that write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import ModelConfig, open_model
from tests.gguf.huggingface import folders
from tests.gguf.huggingface.folders import write_json
from tests.models import tiny_encoders

MODULES = ("Transformer", "Pooling", "Normalize")


def describe(
    folder: Path, pooling: dict[str, Any], modules: tuple[str, ...] = MODULES, path: str = "1_Pooling"
) -> None:
    """What sentence-transformers writes beside a model."""
    kinds = [{"type": f"sentence_transformers.models.{kind}", "path": ""} for kind in modules]
    for module in kinds:
        module["path"] = path if module["type"].endswith("Pooling") else ""
    write_json(folder / "modules.json", kinds)
    (folder / "1_Pooling").mkdir()
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 64, **pooling})


def pooling_of(folder: Path) -> str:
    with open_model(folder) as file:
        return ModelConfig.from_model(file).pooling


@pytest.mark.parametrize(
    ("pooling", "kind"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_each_way_of_pooling_is_found(pooling: dict[str, Any], kind: str, tmp_path: Path) -> None:
    folder = tiny_encoders.write_folder(tmp_path, "bert")
    describe(folder, pooling)
    assert pooling_of(folder) == kind


def test_a_model_that_writes_may_embed_by_its_last_token(tmp_path: Path) -> None:
    folders.write_folder(tmp_path)
    assert pooling_of(tmp_path) == "none"
    describe(tmp_path, {"pooling_mode_lasttoken": True})
    assert pooling_of(tmp_path) == "last"


def test_a_head_for_ranking_goes_before_what_the_folder_says(tmp_path: Path) -> None:
    assert pooling_of(tiny_encoders.write_folder(tmp_path, "xlm_roberta_ranker")) == "rank"


@pytest.mark.parametrize(
    ("pooling", "modules", "reason"),
    [
        ({"pooling_mode_max_tokens": True}, MODULES, "pooling by max_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, MODULES, "mean_tokens, cls_token"),
        ({}, MODULES, "pooling by none"),
        ({"pooling_mode_mean_tokens": True}, (*MODULES, "Dense"), "the step 'Dense'"),
    ],
)
def test_what_would_be_another_vector_is_refused(
    pooling: dict[str, Any], modules: tuple[str, ...], reason: str, tmp_path: Path
) -> None:
    folder = tiny_encoders.write_folder(tmp_path, "bert")
    describe(folder, pooling, modules)
    with pytest.raises(UnsupportedModel, match=reason):
        open_model(folder)


@pytest.mark.parametrize("path", ["", "../1_Pooling", "/etc"])
def test_no_file_outside_the_folder_is_read(path: str, tmp_path: Path) -> None:
    folder = tiny_encoders.write_folder(tmp_path, "bert")
    describe(folder, {"pooling_mode_mean_tokens": True}, path=path)
    with pytest.raises(InvalidGGUF, match="not the name of a folder"):
        open_model(folder)


@pytest.mark.parametrize("text", ["[", '{"a": 1}', "[1]"])
def test_a_list_of_steps_that_is_none_is_an_error(text: str, tmp_path: Path) -> None:
    folder = tiny_encoders.write_folder(tmp_path, "bert")
    (folder / "modules.json").write_text(text)
    with pytest.raises(InvalidGGUF, match=r"modules\.json"):
        open_model(folder)
