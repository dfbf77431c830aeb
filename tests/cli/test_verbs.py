"""list, show, tokenize, render, bench, and ps and stop against a real server."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import minilm
from tests.cli.process import PUNA, SECONDS, puna

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "你好"}]


def test_list_has_ollama_s_columns_and_the_model_in_the_box() -> None:
    header, *rows = puna("list").stdout.splitlines()
    assert header.split() == ["NAME", "ID", "SIZE", "MODIFIED"]
    assert sorted(row.split()[0] for row in rows) == sorted([*minilm.NAMES, "cria:latest"])
    [cria] = [row.split()[:4] for row in rows if row.startswith("cria")]
    assert [row.split()[:4] for row in puna("ls", "cri").stdout.splitlines()[1:]] == [cria]
    assert puna("list", "other").stdout.splitlines()[1:] == []


def test_show_says_what_the_model_is() -> None:
    text = puna("show", "cria").stdout
    for fact in ("architecture        llama", "quantization        Q8_0", "context length      "):
        assert fact in text


def test_show_verbose_adds_metadata_and_tensors_shortened() -> None:
    text = puna("show", "cria", "-v").stdout
    assert "general.architecture" in text
    assert "token_embd.weight" in text
    assert max(map(len, text.splitlines())) < 200


def test_show_template_is_the_template_alone() -> None:
    assert puna("show", "cria", "--template").stdout.startswith("{%")


def test_tokenize_gives_ids_and_pieces_that_make_up_the_text() -> None:
    text = "hello 你好 😀\n"
    tokens = json.loads(puna("tokenize", "cria", "--json", "--no-special", stdin=text).stdout)["tokens"]
    pieces = [token["piece"].encode() if isinstance(token["piece"], str) else bytes(token["piece"]) for token in tokens]
    assert b"".join(pieces).decode() == text
    assert all(isinstance(token["id"], int) for token in tokens)


def test_tokenize_for_people_has_one_line_a_token() -> None:
    lines = puna("tokenize", "cria", "hello").stdout.splitlines()
    tokens = json.loads(puna("tokenize", "cria", "hello", "--json").stdout)["tokens"]
    assert [line.split()[0] for line in lines] == [str(token["id"]) for token in tokens]


def test_special_tokens_in_a_text_count_only_when_asked() -> None:
    plain, special = (
        json.loads(puna("tokenize", "cria", "<|im_start|>", "--json", *options).stdout)["tokens"]
        for options in ((), ("--parse-special",))
    )
    assert len(special) == 1 < len(plain)


def test_render_prints_exactly_what_the_template_makes(tmp_path: Path) -> None:
    from puna import LLM

    (tmp_path / "chat.json").write_text(json.dumps(MESSAGES))
    from_file = puna("render", "cria", "--messages", str(tmp_path / "chat.json"))
    piped = puna("render", "cria", "--messages", "-", stdin=json.dumps(MESSAGES))
    with LLM("cria", threads=1) as llm:
        assert from_file.stdout == piped.stdout == llm.render(MESSAGES)
    shorter = puna("render", "cria", "--messages", "-", "--no-generation-prompt", stdin=json.dumps(MESSAGES))
    assert from_file.stdout.startswith(shorter.stdout)
    assert len(shorter.stdout) < len(from_file.stdout)


@pytest.mark.parametrize("text", ["", "{", "[]", '[{"role": "user"}]'])
def test_render_names_what_is_wrong_with_the_messages(text: str) -> None:
    done = puna("render", "cria", "--messages", "-", stdin=text)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: standard input")


def test_bench_prints_the_figures_of_the_issue_as_json() -> None:
    done = puna("bench", "cria", "--prompt-tokens", "600", "--gen-tokens", "4", "--depth", "33", "--threads", "1",
                "--repeat", "1", "--json")  # fmt: skip
    report = json.loads(done.stdout)
    for name in ("prefill_tokens_per_second", "decode_tokens_per_second", "decode_gigabytes_per_second"):
        assert report[name] > 0
    assert (report["prompt_tokens"], report["gen_tokens"], report["depth"], report["threads"]) == (600, 4, 33, 1)
    per_token = report["weight_bytes"] / 1e9
    assert report["decode_gigabytes_per_second"] == pytest.approx(report["decode_tokens_per_second"] * per_token)


def test_bench_refuses_more_than_the_context_holds() -> None:
    done = puna("bench", "cria", "--prompt-tokens", "1000000")
    assert done.returncode == 1
    assert "do not fit" in done.stderr


def test_ps_and_stop_without_a_server_say_how_to_start_one() -> None:
    for arguments in (("ps",), ("stop", "cria")):
        done = puna(*arguments)
        assert done.returncode == 1
        assert "puna serve" in done.stderr


def test_serve_ps_and_stop_work_together_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    environment = {**os.environ, "PUNA_HOST": "127.0.0.1", "PUNA_API_KEY": "secret"}
    with subprocess.Popen(
        [*PUNA, "serve", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as server:
        assert server.stdout
        try:
            url = server.stdout.readline().split()[4]
            monkeypatch.setenv("PUNA_HOST", url)
            assert "PUNA_API_KEY" in puna("ps").stderr
            monkeypatch.setenv("PUNA_API_KEY", "secret")
            body = {"model": "cria", "messages": [{"role": "user", "content": "hello"}]}
            reply = httpx.post(f"{url}/v1/chat/completions", json=body, headers={"Authorization": "Bearer secret"})
            assert reply.json()["choices"][0]["message"]["content"]
            header, row = puna("ps").stdout.splitlines()
            assert header.split() == ["NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"]
            assert row.startswith("cria:latest")
            assert "minutes from now" in row
            assert puna("stop", "cria").returncode == 0
            assert len(puna("ps").stdout.splitlines()) == 1
            assert "not found" in puna("stop", "no-such-model").stderr
        finally:
            server.terminate()
            server.wait(SECONDS)


def test_serve_on_an_address_with_a_mistake_is_refused() -> None:
    done = puna("serve", "--host", "ftp://x")
    assert done.returncode == 1
    assert "scheme must be http" in done.stderr
