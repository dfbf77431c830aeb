"""The public names of `import puna`: a change here is a change for everybody who uses it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest

import puna


def test_the_public_names_have_not_changed_unnoticed() -> None:
    assert puna.__all__ == ["LLM", "Completion", "TextStream", "Tokenizer", "__version__", "pipeline"]


def test_every_public_name_resolves_and_dir_shows_it() -> None:
    for name in puna.__all__:
        assert getattr(puna, name) is not None
        assert name in dir(puna)


def test_the_version_is_the_installed_package_s() -> None:
    assert puna.__version__ == version("puna")


def test_an_unknown_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = puna.nothing


def test_importing_puna_brings_nothing_heavy() -> None:
    code = "import puna, sys; print({'numpy', 'numba', 'tokenizers', 'rich', 'typer'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


@pytest.mark.parametrize("method", ["generate", "chat", "logits", "embed", "close"])
def test_a_method_users_call_is_there_and_documented(method: str) -> None:
    assert inspect.getdoc(getattr(puna.LLM, method))


def test_the_signatures_users_rely_on_stay() -> None:
    assert str(inspect.signature(puna.Tokenizer.encode)).startswith("(self, text: 'str', add_special: 'bool' = True")
    llm = inspect.signature(puna.LLM.__init__).parameters
    assert {"model", "threads", "context"} <= llm.keys()
    assert all(llm[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ("threads", "context"))
