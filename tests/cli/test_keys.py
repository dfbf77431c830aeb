"""`puna keys`, and `puna serve` beyond this machine."""

from __future__ import annotations

import os
import subprocess
import time

import httpx
import pytest

from puna.cli.keys import parse_budget
from puna.errors import InvalidRequest
from tests.cli.process import PUNA, SECONDS, puna


def test_a_key_is_shown_once_then_listed_then_revoked() -> None:
    made = puna("keys", "create", "ada", "--models", "cria*", "--models", "qwen*", "--budget", "20k/day")
    assert made.returncode == 0
    [token] = made.stdout.splitlines()  # alone on standard output, so that a script can take it
    assert token.startswith("sk-puna-")
    listed = puna("keys", "list").stdout
    assert token not in listed
    header, row = listed.splitlines()
    assert header.split() == ["NAME", "MODELS", "ROUTES", "BUDGET", "TODAY", "CREATED", "REVOKED"]
    assert row.split()[:6] == ["ada", "cria*", "qwen*", "all", "20000", "0"]
    assert puna("keys", "revoke", "ada").returncode == 0
    assert puna("keys", "list").stdout.splitlines()[1].split()[-1] in ("now", "ago")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["create", "a b"], "cannot name a key"),
        (["create", "ada", "--budget", "many"], "'many' is no budget"),
        (["create", "ada", "--budget", "0"], "at least 1 token"),
        (["create", "ada", "--routes", "v1"], "begin with /"),
        (["revoke", "nobody"], "puna keys list"),
    ],
)
def test_a_mistake_is_told_in_one_line(arguments: list[str], told: str) -> None:
    done = puna("keys", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "tokens"), [("5", 5), ("50000", 50_000), ("200k", 200_000), ("1M/day", 1_000_000), (" 3G ", 3 * 10**9)]
)
def test_budgets_are_read_as_people_write_them(text: str, tokens: int) -> None:
    assert parse_budget(text) == tokens


@pytest.mark.parametrize("text", ["", "k", "1.5k", "-1", "1kk", "1/week", "9" * 20, "١"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no budget"):
        parse_budget(text)


def test_serve_beyond_loopback_refuses_in_one_line_without_a_key() -> None:
    done = puna("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 1
    assert "puna keys create" in done.stderr
    assert "--no-auth" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    both = puna("serve", "--no-auth", "--api-key", "x")
    assert both.returncode == 1
    assert "--no-auth" in both.stderr


@pytest.mark.parametrize("way", ["key", "no-auth"])
def test_serve_beyond_loopback_with_a_key_or_told_that_it_needs_none(way: str) -> None:
    token = puna("keys", "create", "ada").stdout.strip() if way == "key" else ""
    options = ["--no-auth"] if way == "no-auth" else []
    command = [*PUNA, "serve", "--host", "0.0.0.0", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ)
    ) as server:
        assert server.stdout
        try:
            url = server.stdout.readline().split()[4].replace("0.0.0.0", "127.0.0.1")
            assert httpx.get(f"{url}/api/tags").status_code == (401 if token else 200)
            if token:
                assert httpx.get(f"{url}/api/tags", headers={"Authorization": f"Bearer {token}"}).status_code == 200
                assert puna("keys", "revoke", "ada").returncode == 0
                time.sleep(1.0)
                assert httpx.get(f"{url}/api/tags").status_code == 401, "where no key is left, it must not open"
        finally:
            server.terminate()
            server.wait(SECONDS)
