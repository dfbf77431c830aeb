"""What the server costs: one stream over HTTP beside the engine alone, and beside itself in company."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.results import Measures, Result
from bench.scenarios.serving import nonce_message, served
from bench.server import Message, PunaServer
from bench.session import Options, Session, Turn

PROMPT, GENERATED = 256, 48
IDLE, SLOW = 200, 20  # connections that ask for nothing, and that read an answer slowly
SLOW_TOKENS = 8  # of an answer that is read slowly
SIP, SIP_SECONDS = 64, 0.25  # bytes that a slow reader takes at once, and how often


def server(model: Path, options: Options, *, prompt: int = PROMPT, generated: int = GENERATED) -> Result:
    """One stream over HTTP and from the engine alone; the same stream beside 200 idle connections and 20 slow readers.

    Greedy, after a prompt that is cached.
    """
    with Session(options) as session, served(options, prompt + generated + 128) as http:
        engine = session.start("puna_engine")
        session.load({"engine": engine}, path=str(model), context=prompt + generated + 128)
        messages = nonce_message(prompt)
        tokens = http.tokens(model, messages)
        http.chat(model, messages, 1)  # loads the model
        turns: dict[str, Turn] = {
            "engine": partial(engine.ask, "stream", prompt=tokens, generated=generated),
            "puna": partial(_stream, http, model, messages, generated),
            "crowded": partial(_crowded_stream, http, model, messages, generated),
        }
        return session.result("server", model, session.rounds(turns))


def _crowded_stream(http: PunaServer, model: Path, messages: list[Message], generated: int) -> Measures:
    with _idle(http), _slow_readers(http, model):
        return _stream(http, model, messages, generated)


def _stream(http: PunaServer, model: Path, messages: list[Message], generated: int) -> Measures:
    http.chat(model, messages, 1)
    answer = http.chat(model, messages, generated)
    seconds = answer.arrivals[-1] - answer.arrivals[0]
    return {"first": answer.first, "rate": (answer.completion_tokens - 1) / seconds}


@contextlib.contextmanager
def _idle(http: PunaServer) -> Iterator[None]:
    """Connections that have asked once and are kept open."""
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            connection = stack.enter_context(socket.create_connection(http.address))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.recv(4096)
        yield


@contextlib.contextmanager
def _slow_readers(http: PunaServer, model: Path) -> Iterator[None]:
    """Connections whose answers are written long before they are read; the server has to hold what does not fit."""
    body = json.dumps(
        {
            "model": str(model), "messages": nonce_message(8), "max_tokens": SLOW_TOKENS, "stream": True,
            "logprobs": True, "top_logprobs": 20,
        }
    ).encode()  # fmt: skip
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(_small_socket(http)) for _ in range(SLOW)]
        for connection in connections:
            connection.sendall(head.encode() + body)
            connection.setblocking(False)
        while http.open_requests():
            time.sleep(0.05)
        ended = threading.Event()
        reader = threading.Thread(target=_sip, args=(connections, ended))
        reader.start()
        try:
            yield
        finally:
            ended.set()
            reader.join()


def _small_socket(http: PunaServer) -> socket.socket:
    """One whose other side is soon full."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(http.address)
    return connection


def _sip(connections: list[socket.socket], ended: threading.Event) -> None:
    while not ended.wait(SIP_SECONDS):
        for connection in connections:
            with contextlib.suppress(BlockingIOError):  # it has all of it
                connection.recv(SIP)
