from __future__ import annotations

import stat
from pathlib import Path

import pytest

from puna.cli.terminal import _open_history, is_open, unquote


@pytest.mark.parametrize("text", ['"""', '"""first line', '"""a\nb', '  """', '"""a""', '""""', '/set system """a'])
def test_a_message_waits_for_its_closing_quotes(text: str) -> None:
    assert is_open(text)


@pytest.mark.parametrize("text", ["", "hello", '""', '"""one line"""', '"""a\nb"""', '""""""', 'say """ twice """'])
def test_enter_sends_a_message_that_is_complete(text: str) -> None:
    assert not is_open(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  hi ", "hi"),
        ('"""a\n  b"""', "a\n  b"),
        ('"""\na\n"""', "a"),
        ('""""""', ""),
        ('he said "no"', 'he said "no"'),
    ],
)
def test_quotes_are_taken_off_and_inner_blanks_kept(text: str, message: str) -> None:
    assert unquote(text) == message


def test_what_was_typed_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "chat_history"
    _open_history(path).append_string("secret")
    assert "secret" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_state_folder_that_cannot_be_made_does_not_end_the_chat(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    _open_history(tmp_path / "file" / "chat_history").append_string("hello")
    assert "not kept" in capsys.readouterr().err
