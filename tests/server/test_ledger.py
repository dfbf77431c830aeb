"""What was used is counted once, by whom, and is on the disk soon: whatever happens to the server."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.server import ledger as ledgers
from puna.server.accounts import Accounts
from puna.server.ledger import Ledger, Use
from tests.server.process import server_process

CHAT = {"model": "cria", "messages": [{"role": "user", "content": "hi"}]}


def used(accounts: Accounts, key: str | None = None) -> Use:
    return sum((entry.use for entry in accounts.ledger.entries(days=1, key=key)), Use())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("mn"), st.integers(0, 9), st.booleans()), max_size=30))
@settings(max_examples=40, deadline=None)
def test_every_use_is_counted_once_whenever_it_is_written(uses: list[tuple[str, str, int, bool]]) -> None:
    with Accounts(None) as accounts:
        ledger = accounts.ledger
        totals = dict.fromkeys("ab", 0)
        for key, model, tokens, sync in uses:
            ledger.add(key, model, Use(1, tokens, 0, 2 * tokens))
            totals[key] += 3 * tokens
            if sync:
                ledger.sync()
            assert {key: ledger.used_today(key) for key in "ab"} == totals
        assert used(accounts).tokens == sum(totals.values())
        assert used(accounts).requests == len(uses)
        assert used(accounts, "a").tokens == totals["a"]


def test_two_servers_on_one_file_know_of_each_others_use(tmp_path: Path) -> None:
    """A budget holds for all of them together."""
    with Accounts(tmp_path / "a.db") as one, Accounts(tmp_path / "a.db") as other:

        def work(accounts: Accounts) -> None:
            for _ in range(50):
                accounts.ledger.add("ada", "cria", Use(1, 2, 0, 1))
                accounts.ledger.sync()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, [one, other, one, other]))
        for accounts in (one, other):
            accounts.ledger.sync()
            assert accounts.ledger.used_today("ada") == 600
            assert used(accounts) == Use(200, 400, 0, 200)


def test_a_file_that_cannot_be_written_loses_nothing(tmp_path: Path) -> None:
    with Accounts(tmp_path / "a.db") as accounts:
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        accounts._database._connection.execute("PRAGMA busy_timeout = 10")
        other.execute("BEGIN EXCLUSIVE")
        accounts.ledger.add("ada", "cria", Use(1, 2, 0, 1))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            accounts.ledger.sync()
        assert accounts.ledger.used_today("ada") == 3
        other.execute("COMMIT")
        other.close()
        assert used(accounts) == Use(1, 2, 0, 1)


def test_a_new_day_begins_with_nothing_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Accounts(None) as accounts:
        accounts.ledger.add("ada", "cria", Use(1, 2, 0, 1))
        accounts.ledger.sync()
        monkeypatch.setattr(ledgers, "today", lambda: "9999-12-31")
        assert accounts.ledger.used_today("ada") == 0
        accounts.ledger.add("ada", "cria", Use(1, 1, 0, 1))
        accounts.ledger.sync()
        assert accounts.ledger.used_today("ada") == 2


def test_the_days_retry_after_is_never_0() -> None:
    assert 1 <= ledgers.seconds_left_today() <= 86400


def test_what_is_counted_waits_for_no_disk(tmp_path: Path) -> None:
    with Accounts(tmp_path / "a.db") as accounts:
        other = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        for _ in range(1000):
            accounts.ledger.add("ada", "cria", Use(1, 2, 0, 1))
            accounts.ledger.used_today("ada")
        assert time.monotonic() - started < 1.0
        other.execute("COMMIT")
        other.close()


def test_a_killed_server_has_lost_a_second_at_most(models: Path, tmp_path: Path) -> None:
    script = """
import sys
from puna.server import serve
serve("127.0.0.1", 0, log_level="warning", on_ready=lambda url: print(url, flush=True))
"""
    environment = {**os.environ, "PUNA_MODELS": str(models), "PUNA_DATA": str(tmp_path), "PUNA_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        reply = httpx.post(f"{url}/api/chat", json={**CHAT, "stream": False}, timeout=60).json()
        time.sleep(1.0)
        os.kill(process.pid, signal.SIGKILL)
    with Accounts(tmp_path / "accounts.db") as accounts:
        assert used(accounts) == Use(1, reply["prompt_eval_count"], 0, reply["eval_count"])


def test_every_dialect_counts_and_choices_count_their_prompt_once(models: Path, tmp_path: Path) -> None:
    with server_process(models, data=tmp_path) as url, httpx.Client(base_url=url, timeout=60) as http:

        def total() -> dict[str, int]:
            return dict(http.get("/api/usage").json()["total"])

        before = total()
        reply = http.post("/v1/chat/completions", json={**CHAT, "n": 3}).json()["usage"]
        after = total()
        assert after["requests"] - before["requests"] == 1
        assert after["prompt_tokens"] - before["prompt_tokens"] == reply["prompt_tokens"]
        assert after["generated_tokens"] - before["generated_tokens"] == reply["completion_tokens"]

        claude = http.post("/v1/messages", json={**CHAT, "max_tokens": 20}).json()["usage"]
        last = total()
        assert last["generated_tokens"] - after["generated_tokens"] == claude["output_tokens"]

        vectors = http.post("/v1/embeddings", json={"model": "cria", "input": ["hi", "hello"]}).json()["usage"]
        embedded, last = last, total()
        assert last["prompt_tokens"] - embedded["prompt_tokens"] == vectors["prompt_tokens"] > 0
        assert last["requests"] - embedded["requests"] == 1

        long = {"model": "cria", "prompt": "a", "raw": True, "options": {"num_predict": 2000, "temperature": 0}}
        with http.stream("POST", "/api/generate", json=long) as answer:
            next(answer.iter_lines())  # and go away
        deadline = time.monotonic() + 10
        while (left := total()) == last and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0 < left["generated_tokens"] - last["generated_tokens"] < 2000, "what was cancelled is not counted"

        with http.stream("POST", "/api/generate", json=long) as answer:
            lines = answer.iter_lines()
            next(lines)
            os.kill(http.get("/api/ps").json()["models"][0]["puna"]["pid"], signal.SIGKILL)
            assert "error" in list(lines)[-1]
        broken = total()
        assert broken["requests"] - left["requests"] == 1
        assert broken["prompt_tokens"] > left["prompt_tokens"]
        assert 0 < broken["generated_tokens"] - left["generated_tokens"] < 2000, "what failed is not counted"


def test_a_ledger_is_written_when_it_is_closed(tmp_path: Path) -> None:
    with Accounts(tmp_path / "a.db") as accounts:
        assert isinstance(accounts.ledger, Ledger)
        accounts.ledger.add("ada", "cria", Use(1, 2, 3, 4))
    with Accounts(tmp_path / "a.db") as accounts:
        assert used(accounts) == Use(1, 2, 3, 4)
