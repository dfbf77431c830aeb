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
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the server)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "puna", "serve", "--host", "127.0.0.1", "--port", "0"],
            stdout=subprocess.PIPE, stderr=self._errors, text=True, env={**os.environ, **environment},
        )  # fmt: skip
        assert self._process.stdout is not None
        found = re.search(r"http://([\d.]+):(\d+)", self._process.stdout.readline())
        if not found:
            self._process.wait()
            words = self._last_words()
            self.close()
            raise ContestantError(f"puna serve did not start: {words}")
        self._address = found[1], int(found[2])

    def chat(self, model: Path, messages: Sequence[Message], max_tokens: int) -> Answer:
        """A greedy answer, streamed. Raises ContestantError."""
        body = {
            "model": str(model), "messages": messages, "max_tokens": max_tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True},
        }  # fmt: skip
        connection = http.client.HTTPConnection(*self._address, timeout=ANSWER_SECONDS)
        start = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise ContestantError(f"puna serve said {response.status}: {response.read()[:300]!r}")
        try:
            return _read(response, start)
        finally:
            connection.close()

    def close(self) -> None:
        """End it, as Ctrl-C would."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

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
    text, arrivals = "", []
    usage: dict[str, Any] = {}
    for line in response:
        now = time.perf_counter() - start
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
