"""The chat, as a user has it: the real program in a pseudo-terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.process import Terminal
from tests.server.variant import THINKER, cria_with_template

if sys.platform == "win32":
    pytest.skip("pseudo-terminals are Unix's", allow_module_level=True)

CTRL_C, CTRL_D = "\x03", "\x04"
CRIA = ("run", "cria", "--temperature", "0")


def test_a_chat_answers_and_bye_leaves_it() -> None:
    with Terminal(*CRIA) as terminal:
        terminal.ask("你会说中文吗")
        terminal.expect("中文和英文")
        terminal.ask("/bye")
        assert terminal.wait() == 0


def test_ctrl_d_leaves() -> None:
    with Terminal(*CRIA) as terminal:
        terminal.expect(">>> ")
        terminal.send(CTRL_D)
        assert terminal.wait() == 0


def test_ctrl_c_at_the_prompt_tells_how_to_leave_and_the_second_one_does() -> None:
    with Terminal(*CRIA) as terminal:
        terminal.expect(">>> ")
        terminal.send(CTRL_C)
        terminal.expect("to leave: /bye")
        terminal.expect(">>> ")
        terminal.send(CTRL_C)
        assert terminal.wait() == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(endless_model: Path, tmp_path: Path) -> None:
    with Terminal("run", str(endless_model), "--temperature", "0", cwd=tmp_path) as terminal:
        terminal.ask("one")
        terminal.expect("one\n")
        terminal.expect_more(300)
        terminal.send(CTRL_C)
        terminal.ask("/save chat.json")
        terminal.expect("2 messages saved")
        terminal.ask("/bye")
        assert terminal.wait() == 0
    question, answer = json.loads((tmp_path / "chat.json").read_text())
    assert question["content"] == "one"
    assert len(answer["content"]) > 100, "what had come before Ctrl-C is part of the conversation"


def test_a_message_of_several_lines_is_one_message(tmp_path: Path) -> None:
    with Terminal(*CRIA, cwd=tmp_path) as terminal:
        terminal.ask('"""hello')
        terminal.expect("...")
        terminal.send('who are you"""\r')
        terminal.ask("/save chat.json")
        terminal.expect("2 messages saved")
    assert json.loads((tmp_path / "chat.json").read_text())[0]["content"] == "hello\nwho are you"


def test_a_saved_conversation_goes_on_where_it_was_with_its_system_message(tmp_path: Path) -> None:
    with Terminal(*CRIA, cwd=tmp_path) as terminal:
        terminal.ask("/system You are brief.")
        terminal.expect("You are brief.\n")
        terminal.ask("hello")
        terminal.ask("/save chat.json")
        terminal.expect("3 messages saved")
        terminal.ask("/clear")
        terminal.expect("forgotten")
        terminal.ask("/load chat.json")
        terminal.expect("3 messages loaded")
        terminal.ask("/system")
        terminal.expect("You are brief.")
        terminal.ask("hi")
        terminal.ask("/save chat.json")
        terminal.expect("5 messages saved")
    roles = [message["role"] for message in json.loads((tmp_path / "chat.json").read_text())]
    assert roles == ["system", "user", "assistant", "user", "assistant"]


def test_a_bad_conversation_file_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('[{"role": "user"}]')
    with Terminal(*CRIA, cwd=tmp_path) as terminal:
        terminal.ask("hello")
        terminal.ask("/load bad.json")
        terminal.expect("Error: bad.json: message 0: 'content'")
        terminal.ask("/save good.json")
        terminal.expect("2 messages saved")
        terminal.ask("/save bad.json")
        terminal.expect("Error: not overwritten")
    assert (tmp_path / "bad.json").read_text() == '[{"role": "user"}]'


def test_a_wrong_command_is_told_not_sent_to_the_model() -> None:
    with Terminal(*CRIA) as terminal:
        terminal.ask("/nonsense")
        terminal.expect("Error: there is no command /nonsense")
        terminal.ask("/?")
        for command in ("/system", "/clear", "/save", "/load", "/set", "/show", "/help", '"""', "/bye"):
            terminal.expect(command)


def test_a_parameter_set_in_the_chat_is_used_for_the_next_answer() -> None:
    with Terminal(*CRIA) as terminal:
        terminal.ask("/set parameter num_predict 1")
        terminal.expect(f"{'num_predict':<30} 1")
        terminal.ask("hello")
        terminal.expect("ended at its limit, after 1 tokens")
        terminal.ask("/set parameter top_p 7")
        terminal.ask("hello")
        terminal.expect("Error: top_p")
        terminal.ask("/set parameter temperature warm")
        terminal.expect("Error: invalid float value [warm]")


def test_what_was_typed_is_there_next_time() -> None:
    with Terminal(*CRIA) as terminal:
        terminal.ask("hello there")
        terminal.ask("/bye")
        assert terminal.wait() == 0
    with Terminal(*CRIA) as terminal:
        terminal.expect(">>> ")
        terminal.send("\x1b[A\x1b[A")  # Up, Up
        terminal.expect("hello there")


def test_messages_that_no_longer_fit_are_announced() -> None:
    with Terminal(*CRIA, "--context", "64") as terminal:
        for _ in range(6):
            terminal.ask("hello, who are you and what can you do?")
        terminal.expect("outgrew the context of 64 tokens")


@pytest.fixture
def thinker(tmp_path: Path) -> str:
    return str(cria_with_template(tmp_path / "thinker.gguf", THINKER))


def test_what_is_set_in_the_chat_is_so_for_the_next_answer(thinker: str) -> None:
    with Terminal("run", thinker, "--temperature", "0", "--max-tokens", "12") as terminal:
        terminal.ask("/set nothink")
        terminal.ask("/set format json")
        terminal.ask("/set verbose")
        terminal.ask("hi")
        assert "{" in terminal.expect("eval count")
        terminal.ask('/set system """one')
        terminal.expect("...")
        terminal.send('two"""\r')
        terminal.expect("one\ntwo")
        terminal.ask("/set nowordwrap")
        terminal.ask("/set think deep")
        terminal.expect("Error: thinking is true, false, low")
        terminal.ask("/set nothing")
        terminal.expect("Error: use /set")
        terminal.ask("/bye")
        assert terminal.wait() == 0
