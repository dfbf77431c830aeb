"""`puna serve` in a process, and a client that notes when each piece of an answer arrives."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.process import ContestantError

STOP_SECONDS = 20.0
ANSWER_SECONDS = 600.0

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A streamed answer; seconds since the request was sent."""

    text: str
    arrivals: list[float]  # of each piece of text
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int

    @property
    def first(self) -> float:
        """Seconds to the first piece."""
        return self.arrivals[0]


class PunaServer:
    """A server on a free port of loopback."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it and wait until it listens. Raises ContestantError."""
        # Files: a pipe that nobody reads would fill up, and stop the server.
        self._output = tempfile.TemporaryFile("a+")  # noqa: SIM115 (it lives as long as the server)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._data = tempfile.TemporaryDirectory()  # the user's own keys would be asked for
        self._process = subprocess.Popen(
            [sys.executable, "-m", "puna", "serve", "--host", "127.0.0.1", "--port", "0"],
            stdout=self._output, stderr=self._errors, text=True,
            env={**os.environ, "PUNA_DATA": self._data.name, **environment},
        )  # fmt: skip
        while not (found := re.search(r"http://([\d.]+):(\d+)", self._said())) and self._process.poll() is None:
            time.sleep(0.01)
        if not found:
            words = self._last_words()
            self.close()
            raise ContestantError(f"puna serve did not start: {words}")
        self.address = found[1], int(found[2])

    @property
    def url(self) -> str:
        """Where it listens."""
        return "http://{}:{}".format(*self.address)

    @property
    def pid(self) -> int:
        """Of the server; its runners are its children."""
        return self._process.pid

    def chat(self, model: Path, messages: Sequence[Message], max_tokens: int) -> Answer:
        """A greedy answer, streamed. Raises ContestantError."""
        body = {
            "model": str(model), "messages": messages, "max_tokens": max_tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        connection = http.client.HTTPConnection(*self.address, timeout=ANSWER_SECONDS)
        start = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise ContestantError(f"puna serve said {response.status}: {response.read()[:300]!r}")
        try:
            return _read(response, start)
        finally:
            connection.close()

    def open_requests(self) -> int:
        """Generations that have not ended."""
        return sum(model["puna"]["open_requests"] for model in self._json("GET", "/api/ps")["models"])

    def tokens(self, model: Path, messages: Sequence[Message]) -> list[int]:
        """A conversation as the model sees it."""
        tokens: list[int] = self._json("POST", "/tokenize", {"model": str(model), "messages": messages})["tokens"]
        return tokens

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(*self.address, timeout=ANSWER_SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            reply: dict[str, Any] = json.loads(connection.getresponse().read())
            return reply
        finally:
            connection.close()

    def close(self) -> None:
        """End it, as Ctrl-C would."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()
        self._errors.close()
        self._data.cleanup()

    def _said(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def _last_words(self) -> str:
        self._errors.seek(0)
        return " ".join(self._errors.read().strip().splitlines()[-1:])

    def __enter__(self) -> PunaServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read(response: http.client.HTTPResponse, start: float) -> Answer:
    # Read first, understand later: what this process computes is taken from the server's processors.
    lines = [(time.perf_counter() - start, line) for line in response]
    text, arrivals = "", []
    usage: dict[str, Any] = {}
    for now, line in lines:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line.removeprefix(b"data: "))
        if "error" in event:
            raise ContestantError(f"puna serve said {event['error']}")
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            if piece := choice["delta"].get("content"):
                text += piece
                arrivals.append(now)
    if not arrivals:
        raise ContestantError("puna serve answered nothing")
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    return Answer(text, arrivals, usage["prompt_tokens"], cached, usage["completion_tokens"])
