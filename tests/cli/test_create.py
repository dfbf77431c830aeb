"""create and show with real files, and models made in a chat."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from puna.cli.app import app
from puna.store import Store
from tests.cli.process import puna
from tests.store.ollama_store import CRIA

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are Unix's", allow_module_level=True)

from tests.cli.process import Terminal

MODELFILE = (
    'FROM ./weights.gguf\nPARAMETER temperature 0\nPARAMETER mirostat 1\nSYSTEM """Be\n"brief"."""\nLICENSE MIT\n'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.gguf").write_bytes(CRIA.read_bytes())
    return tmp_path


def digest(name: str) -> str:
    return Store().resolve(name).digest


def test_a_modelfile_becomes_a_model_and_its_own_modelfile_the_same_again(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "Modelfile").write_text(MODELFILE.replace("./weights", "../weights"))
    made = puna("create", "mine", "-f", "sub/Modelfile", "--reference")
    assert (made.returncode, made.stdout) == (0, ""), made.stderr
    assert made.stderr.splitlines()[-2:] == ["writing manifest", "success"]
    assert "(warning: parameter mirostat is deprecated)" in made.stderr
    assert Store().resolve("mine").path.resolve() == folder / "weights.gguf"
    shown = puna("show", "mine", "--modelfile").stdout
    assert puna("create", "again", "-f", "-", stdin=shown).returncode == 0
    assert digest("again") == digest("mine")


def shown(*arguments: str) -> str:
    """What `puna show` prints; in this process, for it is quicker."""
    done = CliRunner().invoke(app, ["show", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_show_has_a_flag_for_each_part_and_says_which_template_is_in_force(folder: Path) -> None:
    (folder / "Modelfile").write_text(MODELFILE + "TEMPLATE [{{ .Prompt }}]\nREQUIRES 0.14.0\n")
    assert CliRunner().invoke(app, ["create", "mine"]).exit_code == 0
    assert shown("mine", "--system") == 'Be\n"brief".\n'
    assert shown("mine", "--parameters") == f"{'temperature':<30} 0\n"
    assert shown("mine", "--license") == "MIT\n"
    assert shown("mine", "--template") == "[{{ .Prompt }}]\n"
    whole = shown("mine")
    assert "template            the model's own layer, in Go's template language" in whole
    assert "requires            0.14.0" in whole
    assert "template            inside the model file, in Jinja" in shown("cria")


def test_what_cannot_be_made_is_one_line_of_error(folder: Path) -> None:
    missing = puna("create", "mine", "-f", "none")
    assert (missing.returncode, missing.stderr) == (1, "Error: specified Modelfile wasn't found: none\n")
    wrong = puna("create", "mine", "-f", "-", stdin="FROM x\nBAD y")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert wrong.stderr.startswith("Error: (line 2): command must be one of ")
    (folder / "weights.gguf").unlink()
    assert "no Modelfile or safetensors files found" in puna("create", "mine").stderr
    both = CliRunner().invoke(app, ["show", "cria", "--system", "--template"])
    assert both.exit_code == 2
    assert "can be specified" in " ".join(both.output.split())


def test_a_chat_is_saved_as_a_model_and_goes_on_when_it_is_loaded() -> None:
    with Terminal("run", "cria", "--temperature", "0") as terminal:
        terminal.ask("/set system You are brief.")
        terminal.ask("/set parameter num_predict 3")
        terminal.ask("hello")
        terminal.ask("/save mine")
        terminal.expect("created the model 'mine'")
        terminal.ask("/save a b")
        terminal.expect("Error: invalid model name")
        terminal.ask("/load nothing")
        terminal.expect("Error: model 'nothing' not found")
        terminal.ask("/load mine")
        terminal.expect("now with 'mine'")
        terminal.ask("/show modelfile")
        terminal.expect("MESSAGE user hello")
        terminal.ask("/bye")
        assert terminal.wait() == 0
    model = Store().resolve("mine")
    assert model.system == "You are brief."
    assert model.parameters == {"num_predict": 3, "temperature": 0}
    assert [message.role for message in model.messages] == ["user", "assistant"]
