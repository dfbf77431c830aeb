"""What goes wrong in the middle: clients that go away, runners that die."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam
from prometheus_client.parser import text_string_to_metric_families

from puna.runtime import Runtime
from puna.store import Store
from tests.server.process import server_process

HI = [{"role": "user", "content": "hi"}]
# No token that ends an answer may come: it goes on until the context is full.
EOG_IDS = Runtime(Store(Path("none"))).text_model("cria").tokenizer.eog_ids
ENDLESS: dict[str, Any] = {"temperature": 0, "logit_bias": {str(token): -100 for token in EOG_IDS}}
CHAT: dict[str, Any] = {"model": "cria", "messages": HI, "options": ENDLESS}


def loaded(http: httpx.Client) -> dict[str, Any]:
    """Of cria; tests of other files may have loaded more."""
    models = {model["name"]: model["puna"] for model in http.get("/api/ps").json()["models"]}
    status: dict[str, Any] = models.get("cria:latest", {"pid": 0, "open_requests": 0})
    return status


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    return true()


def send(url: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> socket.socket:
    """POST by hand; the socket is the caller's to read and to close."""
    data = json.dumps(body).encode()
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port or 80))
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n{more}\r\n"
    connection.sendall(head.encode() + data)
    return connection


def cancelled_answers(http: httpx.Client) -> float:
    """How many of cria's answers ended because they were cancelled, by the server's own count."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    samples = next(family for family in families if family.name == "puna_answers").samples
    wanted = {"model": "cria:latest", "reason": "cancelled"}
    return sum(s.value for s in samples if s.name == "puna_answers_total" and s.labels == wanted)


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_stops_its_generation(url: str, http: httpx.Client, path: str, stream: bool) -> None:
    http.post("/api/generate", json={"model": "cria"})
    before = cancelled_answers(http)
    connection = send(url, path, {**CHAT, "temperature": 0, "stream": stream})
    assert wait_until(lambda: loaded(http)["open_requests"] == 1, 2)
    if stream:
        assert b"200 OK" in connection.recv(100)
    connection.close()
    assert wait_until(lambda: loaded(http)["open_requests"] == 0, 2)
    assert wait_until(lambda: cancelled_answers(http) == before + 1, 2), "it ended by itself"


def test_an_endless_generation_ends_where_the_context_is_full(http: httpx.Client) -> None:
    reply = http.post("/api/chat", json={**CHAT, "stream": False}).json()
    assert reply["done_reason"] == "length"
    assert reply["prompt_eval_count"] + reply["eval_count"] == reply["context"]["limit"]


@pytest.mark.parametrize("path", ["/api/embed", "/v1/embeddings"])
def test_a_client_that_goes_away_ends_its_embeddings(url: str, http: httpx.Client, path: str) -> None:
    http.post("/api/generate", json={"model": "cria"})
    texts = [f"{number} " + "word " * 1000 for number in range(200)]
    connection = send(url, path, {"model": "cria", "input": texts})
    assert wait_until(lambda: loaded(http)["open_requests"] == 1, 5)
    connection.close()
    assert wait_until(lambda: loaded(http)["open_requests"] == 0, 0.5)


def test_a_killed_runner_ends_an_ollama_stream_with_an_error_line(http: httpx.Client) -> None:
    lines: list[dict[str, Any]] = []
    with http.stream("POST", "/api/chat", json=CHAT) as response:
        for line in response.iter_lines():
            if not lines:
                os.kill(loaded_pid(http), signal.SIGKILL)
            lines.append(json.loads(line))
    assert response.status_code == 200
    assert set(lines[-1]) == {"error"}
    assert "SIGKILL" in lines[-1]["error"]
    assert not any(line.get("done") for line in lines)
    assert http.post("/api/chat", json={**CHAT, "options": {}, "stream": False}).json()["done"]


def test_a_killed_runner_raises_in_openais_client(url: str, http: httpx.Client) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(
            model="cria", messages=messages, stream=True, extra_body={"options": ENDLESS}
        )
        next(stream)
        os.kill(loaded_pid(http), signal.SIGKILL)
        with pytest.raises(openai.APIError, match="SIGKILL"):
            list(stream)
        assert client.chat.completions.create(model="cria", messages=messages).choices


def test_a_killed_runner_fails_a_response_then_raises_in_openais_client(url: str, http: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        stream = client.responses.create(model="cria", input="hi", stream=True, extra_body={"options": ENDLESS})
        events = [next(stream)]
        os.kill(loaded_pid(http), signal.SIGKILL)
        with pytest.raises(openai.APIError, match="SIGKILL"):
            events.extend(stream)
        assert events[-1].type == "response.failed"
        assert events[-1].response.status == "failed"
        assert client.responses.create(model="cria", input="hi").output_text
        completion = client.completions.create(
            model="cria", prompt="How are", stream=True, extra_body={"options": ENDLESS}
        )
        next(completion)
        os.kill(loaded_pid(http), signal.SIGKILL)
        with pytest.raises(openai.APIError, match="SIGKILL"):
            list(completion)
        assert client.completions.create(model="cria", prompt="How are").choices


def test_a_runner_killed_before_the_first_token_gives_a_status(models: Path) -> None:
    """A whole reply has not begun: its failure is a 500, not a broken 200."""
    with server_process(models) as url, httpx.Client(base_url=url, timeout=30) as http:
        http.post("/api/generate", json={"model": "cria"})
        with send(url, "/api/chat", {**CHAT, "stream": False}) as connection:
            assert wait_until(lambda: loaded(http)["open_requests"] == 1, 2)
            os.kill(loaded_pid(http), signal.SIGKILL)
            reply = read_all(connection)
        assert reply.startswith(b"HTTP/1.1 500")
        assert b"SIGKILL" in reply
        assert http.get("/").status_code == 200


def test_a_client_that_goes_away_before_its_request_is_sent_is_no_error(models: Path) -> None:
    """The server's log must be empty; `server_process` sees to that."""
    with server_process(models) as url:
        for path in ("/api/chat", "/v1/chat/completions"):
            parts = urlsplit(url)
            with socket.create_connection((parts.hostname, parts.port or 80)) as connection:
                connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{{".encode())
        assert httpx.get(url).status_code == 200


def test_a_server_that_is_full_says_so(models: Path) -> None:
    with server_process(models, PUNA_MAX_QUEUE="1") as url, httpx.Client(base_url=url, timeout=30) as http:
        http.post("/api/generate", json={"model": "cria"})
        connection = send(url, "/api/chat", CHAT)
        assert wait_until(lambda: loaded(http)["open_requests"] == 1, 2)
        refused = http.post("/api/chat", json=CHAT)
        assert refused.status_code == 503
        assert refused.json()["error"].startswith("server busy, please try again.")
        connection.close()
        assert wait_until(lambda: loaded(http)["open_requests"] == 0, 2)
        assert http.post("/api/chat", json={**CHAT, "options": {}, "stream": False}).status_code == 200


def test_no_runner_outlives_its_server(models: Path) -> None:
    with server_process(models) as url, httpx.Client(base_url=url, timeout=30) as http:
        http.post("/api/generate", json={"model": "cria"})
        pid = loaded_pid(http)
    assert wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5)


def test_a_server_that_ends_tells_those_it_was_answering(models: Path) -> None:
    body = {**CHAT, "temperature": 0, "stream": True}
    with server_process(models) as url:
        connection = send(url, "/v1/chat/completions", body)
        assert b"200 OK" in connection.recv(100)
    with connection:
        end = read_all(connection, b"0\r\n\r\n").rpartition(b"data: ")[2]
    assert b"the server is shutting down" in end or b"[DONE]" in end  # a fast machine has done it in time


def loaded_pid(http: httpx.Client) -> int:
    pid = loaded(http)["pid"]
    assert pid
    return int(pid)


def read_all(connection: socket.socket, end: bytes = b"}") -> bytes:
    """What comes up to `end`, or until the other side closes."""
    connection.settimeout(10)
    read = b""
    while end not in read and (data := connection.recv(65536)):
        read += data
    return read
