"""Lanes, shares of clients and a server that is full, over HTTP: real server, real runner, cria."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.process import server_process
from tests.server.test_failures import CHAT, ENDLESS, HI, loaded, send, wait_until

SHORT: dict[str, Any] = {"model": "cria", "messages": HI, "options": {"num_predict": 2}, "stream": False}
ENDPOINTS: dict[str, dict[str, Any]] = {
    "/api/generate": {"model": "cria", "prompt": "hi", "stream": False, "options": {"num_predict": 2}},
    "/api/chat": SHORT,
    "/v1/chat/completions": {"model": "cria", "messages": HI, "max_tokens": 2},
}


def client(url: str, address: str = "127.0.0.1") -> httpx.Client:
    """Calls from that address of loopback: another client to the server."""
    return httpx.Client(base_url=url, timeout=60, transport=httpx.HTTPTransport(local_address=address))


@pytest.mark.parametrize("path", ENDPOINTS)
def test_a_priority_that_there_is_not_is_refused_and_says_what_there_is(http: httpx.Client, path: str) -> None:
    for priority in ("background", "normal", "Background"):
        reply = http.post(path, json=ENDPOINTS[path], headers={"X-Puna-Priority": priority})
        assert reply.status_code == 200, reply.text
    reply = http.post(path, json=ENDPOINTS[path], headers={"X-Puna-Priority": "urgent"})
    assert reply.status_code == 400
    assert "X-Puna-Priority must be 'normal' or 'background', not 'urgent'" in reply.text


def test_the_body_may_name_the_priority_too(http: httpx.Client) -> None:
    for path, body in ENDPOINTS.items():
        for priority, status in (("background", 200), ("normal", 200), ("high", 400), (5, 400)):
            openai = {"priority": priority}
            ollama = {"options": {"num_predict": 2, "priority": priority}}
            reply = http.post(path, json={**body, **(openai if path.startswith("/v1") else ollama)})
            assert reply.status_code == status, reply.text
            if status == 200:
                assert "x-puna-warnings" not in reply.headers
            else:
                assert "priority must be 'normal' or 'background'" in reply.text


class Chat(threading.Thread):
    """A whole answer in the background of the test."""

    def __init__(self, url: str, tokens: int, headers: dict[str, str] | None = None, address: str = "127.0.0.1"):
        super().__init__()
        self._url, self._headers, self._address = url, headers, address
        self._options = {**ENDLESS, "num_predict": tokens}
        self.reply: dict[str, Any] = {}
        self.ended = 0.0
        self.start()

    def run(self) -> None:
        with client(self._url, self._address) as http:
            body = {**CHAT, "options": self._options, "stream": False}
            self.reply = http.post("/api/chat", json=body, headers=self._headers).json()
        self.ended = time.monotonic()

    def text(self) -> str:
        self.join()
        return str(self.reply["message"]["content"])


def test_the_background_gives_way_and_then_goes_on_as_if_nothing_had_been(models: Path) -> None:
    with server_process(models, PUNA_NUM_PARALLEL="1") as url, client(url) as http:
        undisturbed = Chat(url, 1500).text()
        title = Chat(url, 1500, {"X-Puna-Priority": "background"})
        assert wait_until(lambda: loaded(http)["open_requests"] == 1, 5)
        chat = Chat(url, 20)
        chat.join()
        assert chat.reply["eval_count"] == 20
        assert title.is_alive(), "it had ended before: this test tests nothing"
        assert title.text() == undisturbed
        assert title.reply["eval_count"] == 1500


def test_a_client_with_many_requests_does_not_hold_up_another(models: Path) -> None:
    with server_process(models, PUNA_NUM_PARALLEL="1") as url, client(url) as http:
        http.post("/api/chat", json=SHORT)
        many = [Chat(url, 600) for _ in range(4)]
        assert wait_until(lambda: loaded(http)["open_requests"] == 4, 5)
        single = Chat(url, 20, address="127.0.0.2")
        single.join()
        for chat in many:
            chat.join()
        assert sum(chat.ended < single.ended for chat in many) <= 1


def test_a_full_server_says_when_to_come_back_in_both_dialects(models: Path) -> None:
    with server_process(models, PUNA_MAX_QUEUE="1") as url, client(url) as http:
        http.post("/api/chat", json=SHORT)
        with send(url, "/api/chat", CHAT):
            assert wait_until(lambda: loaded(http)["open_requests"] == 1, 2)
            replies = {path: http.post(path, json=body) for path, body in ENDPOINTS.items()}
        for path, reply in replies.items():
            assert reply.status_code == 503
            assert 1 <= int(reply.headers["Retry-After"]) <= 60
            error = reply.json()["error"]
            message = error["message"] if path.startswith("/v1") else error
            assert message == "server busy, please try again.  maximum pending requests exceeded"
        assert set(replies["/v1/chat/completions"].json()["error"]) == {"message", "type", "param", "code"}


def test_one_client_cannot_fill_the_server_for_all(models: Path) -> None:
    """Not even one who says that he is many."""
    with server_process(models, PUNA_MAX_QUEUE="8") as url, client(url) as http:
        http.post("/api/chat", json=SHORT)
        connections = [send(url, "/api/chat", CHAT) for _ in range(8)]
        assert wait_until(lambda: loaded(http)["open_requests"] == 7, 5)
        refused = http.post("/api/chat", json=SHORT, headers={"X-Forwarded-For": "127.0.0.2"})
        assert refused.status_code == 503
        with client(url, "127.0.0.2") as other:
            assert other.post("/api/chat", json=SHORT).status_code == 200
        for connection in connections:
            connection.close()
        assert wait_until(lambda: loaded(http)["open_requests"] == 0, 5)
