from __future__ import annotations

import pytest

from puna.cli import progress
from puna.cli.progress import Progress


def test_a_short_wait_says_nothing_where_stderr_is_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("loading") as bar:
        for done in range(100):
            bar.update("loading weights", done, 100)
    assert capsys.readouterr() == ("", "")


def test_a_long_wait_says_once_what_takes_long(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    with Progress("loading") as bar:
        for stage in ("compiling kernels", "loading weights"):
            for done in range(4):
                bar.update(stage, done, 4)
    assert capsys.readouterr() == ("", "(compiling kernels ...)\n(loading weights ...)\n")
