"""Which file of a repository is meant."""

from __future__ import annotations

import pytest

from puna.errors import InvalidRequest, ModelNotFound
from puna.store.sources.quantisations import Variant, choose, label_of, projector, variants
from puna.store.sources.repository import RemoteFile


def files(*paths: str) -> list[RemoteFile]:
    return [RemoteFile(path, 100 + number, None, ()) for number, path in enumerate(paths)]


def chosen(wanted: str | None, *paths: str) -> Variant:
    return choose(variants(files(*paths)), wanted, "u/m")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Llama-3.2-1B-Instruct-Q4_K_M.gguf", "Q4_K_M"),
        ("model.q8_0.gguf", "q8_0"),
        ("ggml-model-f16.gguf", "f16"),
        ("x-UD-IQ2_XXS.gguf", "UD-IQ2_XXS"),
        ("x-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("BF16/x-00001-of-00002.gguf", "BF16"),
        ("Q4_0_4_8/x.gguf", "Q4_0_4_8"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("x-IQ4_NL.gguf", "IQ4_NL"),
        ("x-TQ1_0.gguf", "TQ1_0"),
        ("x-Q2_K.gguf", "Q2_K"),
        ("Q4-thoughts.gguf", None),
        ("tinyllama.gguf", None),
    ],
)
def test_the_quantisation_is_read_from_names_as_publishers_write_them(name: str, label: str | None) -> None:
    assert label_of(name) == label


def test_nothing_asked_for_is_q4_k_m_and_else_the_next_best_never_the_first_listed() -> None:
    assert chosen(None, "m-F16.gguf", "m-Q2_K.gguf", "m-Q4_K_M.gguf").label == "Q4_K_M"
    assert chosen(None, "m-F16.gguf", "m-Q8_0.gguf", "m-IQ1_S.gguf").label == "Q8_0"
    assert chosen(None, "only.gguf").label is None


@pytest.mark.parametrize("wanted", ["q8_0", "Q8_0", "m-Q8_0.gguf", "m-q8_0", "dir/m-Q8_0.gguf"])
def test_a_tag_is_a_quantisation_or_a_file_and_case_does_not_count(wanted: str) -> None:
    assert chosen(wanted, "m-Q4_K_M.gguf", "dir/m-Q8_0.gguf").path == "dir/m-Q8_0.gguf"


def test_a_dynamic_quantisation_is_found_by_its_plain_name_but_the_plain_one_is_taken_first() -> None:
    assert chosen("Q4_K_XL", "m-UD-Q4_K_XL.gguf").label == "UD-Q4_K_XL"
    assert chosen("Q4_K_M", "m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf").label == "Q4_K_M"


def test_what_is_not_there_is_refused_with_what_there_is() -> None:
    with pytest.raises(ModelNotFound, match="it has F16, Q4_K_M"):
        chosen("Q8_0", "m-Q4_K_M.gguf", "m-F16.gguf")


def test_a_tag_that_two_files_answer_to_is_not_guessed() -> None:
    with pytest.raises(InvalidRequest, match="2 files"):
        chosen("Q8_0", "chat-Q8_0.gguf", "base-Q8_0.gguf")


def test_shards_are_one_model_in_their_order_and_a_set_with_a_gap_is_none() -> None:
    found = variants(
        files("Q8_0/m-00002-of-00002.gguf", "Q8_0/m-00001-of-00002.gguf", "m-Q4_0-00001-of-00003.gguf", "x-Q4_0.gguf")
    )
    assert [[file.path for file in variant.shards] for variant in found] == [
        ["Q8_0/m-00001-of-00002.gguf", "Q8_0/m-00002-of-00002.gguf"],
        ["x-Q4_0.gguf"],
    ]


def test_projectors_and_importance_matrices_are_never_taken_for_the_model() -> None:
    listed = files("mmproj-F32.gguf", "mmproj-model-f16.gguf", "imatrix.gguf", "m-Q8_0.gguf", "README.md")
    assert [variant.path for variant in variants(listed)] == ["m-Q8_0.gguf"]
    found = projector(listed)
    assert found is not None
    assert found.path == "mmproj-model-f16.gguf"
