import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidRequest
from puna.store import ModelName

FIRST = string.ascii_letters + string.digits + "_"


def part(extra: str, longest: int = 20) -> st.SearchStrategy[str]:
    return st.builds(str.__add__, st.sampled_from(FIRST), st.text(FIRST + extra, max_size=longest))


NAMES = st.builds(ModelName, part(".-"), part("-"), part(".-"), part(".-"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cria", "cria:latest"),
        ("Llama3:8B", "Llama3:8B"),
        ("me/model", "me/model:latest"),
        ("hf.co/me/model-GGUF:Q4_K_M", "hf.co/me/model-GGUF:Q4_K_M"),
        ("registry.ollama.ai/library/llama3:8b", "llama3:8b"),
        ("registry.ollama.ai/me/llama3", "me/llama3:latest"),
        ("https://localhost:5000/me/model:q4", "localhost:5000/me/model:q4"),
        ("localhost:5000/me/model", "localhost:5000/me/model:latest"),
        ("hf.co/library/x", "hf.co/library/x:latest"),
    ],
)
def test_a_port_or_a_default_is_not_mistaken_for_a_tag_or_lost(text: str, shown: str) -> None:
    assert str(ModelName.parse(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "a:",
        ":tag",
        "a b",
        "../x",
        "a/../b",
        "..",
        "a/b/c/d",
        ".hidden",
        "a:..",
        "a\0b",
        "a\nb",
        "x" * 81,
        "a.b/c",
        "C:\\x",
        "a//b",
        "/etc/passwd",
        "a:b:c",
        "名",
    ],
)
def test_what_could_leave_the_folder_or_break_a_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="invalid model name"):
        ModelName.parse(text)


@given(NAMES)
def test_the_shortest_form_never_names_another_model(name: ModelName) -> None:
    again = ModelName.parse(str(name))
    assert again.same(name)


@given(NAMES)
def test_case_does_not_make_another_model(name: ModelName) -> None:
    assert ModelName.parse(str(name).swapcase()).same(name)


@given(st.text())
def test_no_text_at_all_gives_a_name_that_is_not_a_plain_path_part(text: str) -> None:
    try:
        name = ModelName.parse(text)
    except InvalidRequest:
        return
    for piece in name.parts():
        assert "/" not in piece
        assert "\\" not in piece
        assert not piece.startswith(".")
