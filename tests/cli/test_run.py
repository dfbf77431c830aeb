"""`puna run` with pipes: what a script sees."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.process import PUNA, SECONDS, puna
from tests.server.variant import THINKER, cria_with_template

GREEDY = ("--temperature", "0")


def test_the_seed_question_is_answered_in_chinese_on_stdout_alone() -> None:
    done = puna("run", "cria", "你会说中文吗", *GREEDY)
    assert (done.returncode, done.stderr) == (0, "")
    assert "中文" in done.stdout
    assert done.stdout.endswith("\n")
    assert "\x1b" not in done.stdout


def test_a_piped_question_is_as_good_as_an_argument() -> None:
    assert (
        puna("run", "cria", *GREEDY, stdin="你会说中文吗\n").stdout
        == puna("run", "cria", "你会说中文吗", *GREEDY).stdout
    )


def test_piped_text_comes_before_the_question_and_words_are_joined() -> None:
    code = "from puna.cli.run import read_prompt; print(repr(read_prompt(['in', 'short'])))"
    done = subprocess.run([sys.executable, "-c", code], input="a\nb\n", capture_output=True, text=True, check=True)
    assert done.stdout == repr("a\nb\nin short") + "\n"


def test_an_empty_pipe_is_not_a_question() -> None:
    assert puna("run", "cria", stdin="  \n").returncode == 2


def test_input_that_is_not_utf_8_is_refused_not_mangled() -> None:
    done = puna("run", "cria", stdin=b"ab\xff")
    assert done.returncode == 1
    assert "standard input is not UTF-8 at byte 2" in done.stderr


def test_a_pipe_nobody_writes_to_is_waited_for_but_not_in_silence() -> None:
    with subprocess.Popen(
        [*PUNA, "run", "cria", "hello"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stderr
        assert process.stdout
        assert "waiting for the end of standard input" in process.stderr.readline()
        process.stdin.close()
        assert process.stdout.read().strip()
        process.stderr.read()


def test_the_same_seed_gives_the_same_answer_and_another_one_another() -> None:
    hot = (
        "run",
        "cria",
        "tell me something",
        "--temperature",
        "3",
        "--top-k",
        "0",
        "--top-p",
        "1",
        "--max-tokens",
        "40",
    )
    one, again, other = (puna(*hot, "--seed", seed).stdout for seed in ("1", "1", "2"))
    assert one == again != other


def test_a_limit_ends_the_answer_and_says_that_it_did() -> None:
    done = puna("run", "cria", "hello", "--max-tokens", "2", *GREEDY)
    assert done.returncode == 0
    assert done.stderr == "(the answer was ended at its limit, after 2 tokens)\n"


def test_verbose_prints_ollama_s_timings_to_stderr() -> None:
    done = puna("run", "cria", "hello", "--verbose", *GREEDY)
    names = [line.partition(":")[0] for line in done.stderr.splitlines()]
    assert names == ["total duration", "load duration", "prompt eval count", "prompt cache", "prompt eval duration",
                     "prompt eval rate", "eval count", "eval duration", "eval rate"]  # fmt: skip
    assert "eval" not in done.stdout


def test_a_system_message_reaches_the_model() -> None:
    long = "You must answer in one word. " * 20
    alone, with_system = (
        puna("run", "cria", "hello", "--verbose", *options).stderr for options in ((), ("--system", long))
    )
    assert _count(with_system, "prompt eval count") > _count(alone, "prompt eval count") + 60


def _count(timings: str, name: str) -> int:
    [line] = [line for line in timings.splitlines() if line.startswith(name + ":")]
    return int(line.split(":")[1].split()[0])


def test_a_path_works_as_a_name_does(endless_model: Path) -> None:
    done = puna("run", str(endless_model), "hello", "--max-tokens", "5", *GREEDY)
    assert done.returncode == 0
    assert done.stdout.strip()


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    done = puna("run", str(tmp_path / "x.gguf"), "hello")
    assert done.returncode == 1
    assert "x.gguf" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_prompt_beyond_the_context_is_an_error_not_a_cut() -> None:
    done = puna("run", "cria", "hello " * 100, "--context", "32")
    assert (done.returncode, done.stdout) == (1, "")
    assert "context" in done.stderr


def test_the_answer_is_streamed_and_ctrl_c_ends_the_process_with_130(endless_model: Path) -> None:
    with subprocess.Popen(
        [*PUNA, "run", str(endless_model), "hello", *GREEDY],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(20), "the first words come before the last"
        assert process.poll() is None
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(SECONDS) == 130
        assert time.monotonic() - start < 5
        assert b"Traceback" not in process.stderr.read()


def test_a_reader_that_leaves_ends_the_process_quietly(endless_model: Path) -> None:
    with subprocess.Popen(
        [*PUNA, "run", str(endless_model), "hello", *GREEDY],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        process.stdout.read(20)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) != 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_runner_is_left_behind_when_the_program_is_killed(endless_model: Path) -> None:
    import psutil

    with subprocess.Popen(
        [*PUNA, "run", str(endless_model), "hello", *GREEDY], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.read(20)
        [runner] = [
            child for child in psutil.Process(process.pid).children() if "puna.engine.runner" in child.cmdline()
        ]
        process.kill()
        process.stdout.read()
    _, alive = psutil.wait_procs([runner], timeout=10)
    assert not alive


def test_thoughts_are_on_stderr_hidden_or_not_thought_at_all(tmp_path: Path) -> None:
    thinker = str(cria_with_template(tmp_path / "thinker.gguf", THINKER))
    shown, hidden, none = (
        puna("run", *options, "hello", "--max-tokens", "8", *GREEDY)
        for options in (["--think", thinker], [thinker, "--hidethinking"], [thinker, "--think=false"])
    )
    note = "(the answer was ended at its limit, after 8 tokens)\n"
    assert (shown.stdout, hidden.stdout) == ("", "")
    assert len(shown.stderr) > len(note) == len(hidden.stderr)
    assert none.stdout.strip()
    assert puna("run", thinker, "hello", "--think=deep").returncode == 1


def test_a_format_holds_the_answer_and_keepalive_is_said_to_have_no_effect() -> None:
    done = puna("run", "cria", "hello", "--format", '{"const": 7}', "--keepalive", "5m", "--nowordwrap", *GREEDY)
    assert (done.returncode, done.stdout) == (0, "7\n")
    assert "--keepalive has no effect" in done.stderr
    assert "not valid" in puna("run", "cria", "hello", "--format", "{").stderr
