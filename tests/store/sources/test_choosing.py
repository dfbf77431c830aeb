"""What a text given to `pull` names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from puna.errors import InvalidRequest
from puna.store.names import ModelName
from puna.store.sources.choosing import AtRegistry, AtUrl, InRepository, OnDisk, source_of


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("user/model:8b", "user/model:8b"),
        ("localhost:5000/user/model", "localhost:5000/user/model:latest"),
        ("http://nas:5000/user/model", "nas:5000/user/model:latest"),
        ("https://ghcr.io/user/model:1", "ghcr.io/user/model:1"),
    ],
)
def test_other_names_are_asked_of_a_registry(text: str, name: str) -> None:
    assert source_of(text) == AtRegistry(ModelName.parse(name))


@pytest.mark.parametrize(
    ("text", "repository", "wanted", "revision", "kept"),
    [
        ("hf.co/u/Model-GGUF", "u/Model-GGUF", None, None, "hf.co/u/Model-GGUF:latest"),
        ("hf.co/u/m:Q8_0", "u/m", "Q8_0", None, "hf.co/u/m:Q8_0"),
        ("huggingface.co/u/m:q4_k_m", "u/m", "q4_k_m", None, "huggingface.co/u/m:q4_k_m"),
        ("hf.co/u/m@v1.5:Q8_0", "u/m", "Q8_0", "v1.5", "hf.co/u/m:Q8_0-v1.5"),
        ("hf.co/u/m@refs/pr/3", "u/m", None, "refs/pr/3", "hf.co/u/m:refs-pr-3"),
        ("https://huggingface.co/u/m", "u/m", None, None, "huggingface.co/u/m:latest"),
        (
            "https://huggingface.co/u/m/resolve/main/m-Q5_K_M.gguf?download=true",
            "u/m",
            "m-Q5_K_M.gguf",
            None,
            "huggingface.co/u/m:Q5_K_M",
        ),
        (
            "https://huggingface.co/u/m/blob/dev/IQ2_XXS/m-00001-of-00002.gguf",
            "u/m",
            "IQ2_XXS/m-00001-of-00002.gguf",
            "dev",
            "huggingface.co/u/m:IQ2_XXS",
        ),
    ],
)
def test_names_and_addresses_of_the_hub_become_repository_revision_and_file(
    text: str, repository: str, wanted: str | None, revision: str | None, kept: str
) -> None:
    origin = source_of(text)
    assert isinstance(origin, InRepository)
    assert (origin.hub, origin.repository, origin.wanted, origin.revision) == (
        "huggingface", repository, wanted, revision,
    )  # fmt: skip
    assert str(origin.name) == kept


def test_the_same_repository_on_modelscope_is_told_by_its_host_alone() -> None:
    for text in (
        "modelscope.cn/u/m:Q8_0",
        "https://www.modelscope.cn/models/u/m/resolve/master/m-Q8_0.gguf",
        "https://modelscope.cn/models/u/m/file/view/master/m-Q8_0.gguf?status=2",
    ):
        origin = source_of(text)
        assert isinstance(origin, InRepository)
        assert (origin.hub, origin.repository, origin.name.tag) == ("modelscope", "u/m", "Q8_0")


def test_a_file_at_an_address_never_takes_the_name_of_a_registry_s_model() -> None:
    origin = source_of("https://example.com:8443/files/Llama-3.2-1B-Instruct.Q4_K_M.gguf?token=x")
    assert isinstance(origin, AtUrl)
    assert str(origin.name) == "example.com:8443/library/Llama-3.2-1B-Instruct:Q4_K_M"
    assert str(source_of("https://example.com/llama3.gguf").name) == "example.com/library/llama3:latest"


@pytest.mark.parametrize("file", ["%2e%2e%2fx.gguf", "..%5Cx.gguf", "%00.gguf", "-x y.gguf", ".gguf"])
def test_a_file_name_in_an_address_becomes_a_valid_name_whatever_it_holds(file: str) -> None:
    origin = source_of(f"https://example.com/{file}")
    assert ModelName.parse(str(origin.name)) == origin.name


def test_paths_are_taken_only_where_paths_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "Qwen3-0.6B-Q8_0.gguf"
    path.touch()
    origin = source_of(str(path))
    assert origin == OnDisk(path, ModelName.parse("Qwen3-0.6B:Q8_0"))
    with pytest.raises(InvalidRequest):
        source_of(str(path), allow_paths=False)


_PIECES = [
    "hf.co/",
    "https://",
    "http://",
    "modelscope.cn/models/",
    "u/m",
    "@",
    ":",
    "/resolve/",
    "x.gguf",
    "~",
    "..",
    "[",
    "%",
]


@example("http://[")
@example("~nobody-of-that-name/x")
@example("x\0.gguf")
@example("~\0")
@example("https://[::1]:5000/x.gguf")
@given(st.lists(st.one_of(st.sampled_from(_PIECES), st.text(max_size=6))).map("".join))
def test_any_text_is_a_source_with_a_valid_name_or_an_invalid_request(text: str) -> None:
    for allow_paths in (True, False):
        try:
            origin = source_of(text, allow_paths=allow_paths)
        except InvalidRequest:
            continue
        assert ModelName.parse(str(origin.name)) == origin.name
        assert allow_paths or not isinstance(origin, OnDisk)


@pytest.mark.parametrize(
    "text", ["", "ftp://host/x.gguf", "hf.co/u/m@", "hf.co/../m", "hf.co/a/b/c/d", "https://", "hf.co/u"]
)
def test_what_names_nothing_is_refused_before_anybody_is_asked(text: str) -> None:
    with pytest.raises(InvalidRequest):
        source_of(text)
