"""`puna push` as a process: what it prints, what it leaves, how it fails."""

from __future__ import annotations

import os
from pathlib import Path

from puna.store import Store
from tests.cli.process import puna
from tests.store.registry.models import add_model
from tests.store.registry_server import RegistryServer, answers


def test_a_push_says_what_it_sends_on_stderr_and_nothing_on_stdout() -> None:
    with RegistryServer() as registry:
        raw = add_model(Store(Path(os.environ["PUNA_MODELS"])), f"{registry.host}/you/model")
        done = puna("push", f"{registry.host}/you/model")
        assert registry.manifests["you/model", "latest"] == raw
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "retrieving manifest"
    assert "300 KB of 300 KB" in done.stderr
    assert done.stderr.splitlines()[-2:] == ["pushing manifest", "success"]


def test_a_refusal_is_one_line_with_what_to_do_and_the_exit_status_is_1() -> None:
    with RegistryServer() as registry:
        add_model(Store(Path(os.environ["PUNA_MODELS"])), f"{registry.host}/library/model")
        registry.faults.append(answers(403, of="/blobs/uploads/"))
        done = puna("push", f"{registry.host}/library/model")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "puna cp" in last
    assert "docker login" in last
