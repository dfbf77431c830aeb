"""A soak: many clients of a real server at once, of every kind, for minutes; then nothing may be stuck or lost.

    python -m bench.soak --minutes 10 --clients 16 --seed 0

Clients speak three APIs, stream or not, in both lanes, with prompts and answers of any length; many hang up midway.
The runner checks its scheduler's and block manager's books after each step and would end if they did not balance.
Prints a summary as JSON; exits 1 if anything was violated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import httpx
import psutil

SERVER = """
from puna.runtime import Runtime
from puna.server import serve
runtime = Runtime(check=True)
try:
    serve("127.0.0.1", 0, runtime=runtime, log_level="warning", on_ready=lambda url: print(url, flush=True))
finally:
    runtime.close()
"""
PARALLEL = 4  # sequences at once: fewer than clients, so that most of them wait and the background gives way
MODEL = "cria"
STUCK_SECONDS = 180.0  # longer than any request here may take, even in the background
GROWTH = 0.05  # of the memory after warm-up that may come in its last third, ...
GROWTH_BYTES = 24 << 20  # ... or so much
ADDRESSES = 4 if sys.platform == "linux" else 1  # of loopback: other systems have 127.0.0.1 alone
LAST_EVENTS = ("data: [DONE]", 'data: {"type":"message_stop"}')
REFERENCE = {"model": MODEL, "prompt": "How are you?", "stream": False, "options": {"seed": 7, "num_predict": 24}}

WORDS = [
    "the",
    "a",
    "llama",
    "plain",
    "stone",
    "river",
    "night",
    "on",
    "under",
    "over",
    "sees",
    "eats",
    "asks",
    "why",
    "what",
    "who",
    "never",
    "always",
    "and",
    "but",
]


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a client, and how it behaves."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    address: str
    hang_up_after: float | None  # seconds

    @property
    def stream(self) -> bool:
        """Whether the answer comes in pieces."""
        return bool(self.body["stream"])


def random_call(rng: random.Random) -> Call:
    """Any request a client may send."""
    words = [rng.choice(WORDS) for _ in range(int(2 ** rng.uniform(0, 9)))]
    text, limit = " ".join(words), int(2 ** rng.uniform(0, 8))
    body: dict[str, Any] = {"model": MODEL, "stream": rng.random() < 0.8}
    path = rng.choice(["/api/generate", "/api/chat", "/v1/chat/completions", "/v1/messages"])
    if path == "/api/generate":
        body |= {"prompt": text, "raw": rng.random() < 0.3}
    else:
        body["messages"] = [{"role": "user", "content": text}]
    options = {"temperature": rng.choice([0, 0.8, 1.5]), "seed": rng.randrange(1000)}
    body |= {"max_tokens": limit, **options} if path.startswith("/v1") else {}
    body |= {"options": {"num_predict": limit, **options}} if path.startswith("/api") else {}
    return Call(
        path,
        body,
        {"X-Puna-Priority": rng.choice(["normal", "normal", "background"])},
        f"127.0.0.{rng.randint(1, ADDRESSES)}",
        rng.choice([None, None, rng.uniform(0, 0.1), rng.uniform(0, 3)]),
    )


@dataclass(slots=True)
class Tally:
    """What happened."""

    outcomes: Counter[str] = field(default_factory=Counter)
    pieces: int = 0
    longest: float = 0.0  # seconds of a request
    violations: list[str] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=lambda: {"server": [], "runner": []})  # bytes, over time

    def violated(self, what: str) -> None:
        """Note it, once."""
        if what not in self.violations:
            self.violations.append(what)

    def check_memory(self) -> None:
        """After the first third, its warm-up, a process must stay as large as it is."""
        for name, curve in self.memory.items():
            third = len(curve) // 3
            before, after = max(curve[third : 2 * third], default=0), max(curve[2 * third :], default=0)
            if after - before > max(GROWTH * before, GROWTH_BYTES):
                self.violated(f"the {name} grew from {before} to {after} bytes in the last third")

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        curves = {name: [size >> 20 for size in _thinned(curve)] for name, curve in self.memory.items()}
        return {
            "requests": sum(self.outcomes.values()),
            "outcomes": dict(self.outcomes.most_common()),
            "pieces": self.pieces,
            "longest_seconds": round(self.longest, 1),
            "memory_mib": curves,
            "violations": self.violations,
        }


def _thinned(curve: list[int], points: int = 24) -> list[int]:
    return curve[:: max(1, len(curve) // points)]


async def client(url: str, rng: random.Random, end: float, tally: Tally) -> None:
    """One request after the other until the time is up."""
    while time.monotonic() < end:
        call = random_call(rng)
        started = time.monotonic()
        try:
            async with asyncio.timeout(call.hang_up_after):
                outcome = await asyncio.wait_for(_answer(url, call, tally), STUCK_SECONDS)
        except TimeoutError:
            hung_up = call.hang_up_after is not None
            outcome = "hung up" if hung_up else "stuck"
            if not hung_up:
                tally.violated(f"no end after {STUCK_SECONDS} s: {call}")
        except httpx.HTTPError as error:
            outcome = "broken"
            tally.violated(f"{type(error).__name__} {error}: {call.path}")
        tally.outcomes[outcome] += 1
        tally.longest = max(tally.longest, time.monotonic() - started)
        if outcome == "busy":
            await asyncio.sleep(rng.uniform(0.2, 1))


async def _answer(url: str, call: Call, tally: Tally) -> str:
    """Read it to its end. The outcome in a word."""
    transport = httpx.AsyncHTTPTransport(local_address=call.address)
    async with (
        httpx.AsyncClient(transport=transport, timeout=None) as http,
        http.stream("POST", url + call.path, json=call.body, headers=call.headers) as response,
    ):
        if response.status_code == 503:
            if not 1 <= int(response.headers.get("Retry-After", 0)) <= 60:
                tally.violated("503 without a Retry-After of 1 to 60 seconds")
            return "busy"
        if response.status_code != 200:
            tally.violated(f"{response.status_code} {await response.aread()!r}: {call}")
            return "refused"
        last = ""
        async for line in response.aiter_lines():
            last = line or last
            tally.pieces += 1
        if call.stream and not (last in LAST_EVENTS or '"done":true' in last):
            tally.violated(f"a stream ended with {last!r}")
            return "broken"
        return "answered"


async def watch(processes: dict[str, psutil.Process], seconds: float, end: float, tally: Tally) -> None:
    """Sample the memory of both processes."""
    while time.monotonic() < end:
        for name, process in processes.items():
            try:
                tally.memory[name].append(process.memory_info().rss)
            except psutil.NoSuchProcess:
                tally.violated(f"the {name} has died")
                return
        await asyncio.sleep(seconds)


async def soak(url: str, server: int, *, seconds: float, clients: int, seed: int) -> Tally:
    """All of it, against a server that has loaded the model."""
    tally = Tally()
    # Each request on its own connection: one that is kept may be closed just when the next request is sent.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=STUCK_SECONDS, limits=limits) as http:
        reference = (await http.post("/api/generate", json=REFERENCE)).json()["response"]
        runner = (await status(http))["pid"]
        processes = {"server": psutil.Process(server), "runner": psutil.Process(runner)}
        end = time.monotonic() + seconds
        await asyncio.gather(
            watch(processes, seconds / 300, end, tally),
            _compare(http, reference, end, tally),
            *(client(url, random.Random(f"{seed} {index}"), end, tally) for index in range(clients)),
        )
        if not await at_rest(http):
            tally.violated(f"requests are still open: {await status(http)}")
        if (await status(http))["pid"] != runner:
            tally.violated("the runner has died and was started again")
        await _compare(http, reference, time.monotonic(), tally)
    tally.check_memory()
    return tally


async def _compare(http: httpx.AsyncClient, reference: str, end: float, tally: Tally) -> None:
    """Ask the same again and again: the answer must not depend on the company."""
    while True:
        reply = await http.post("/api/generate", json=REFERENCE)
        if reply.status_code == 200 and reply.json()["response"] != reference:
            tally.violated(f"{reply.json()['response']!r} instead of {reference!r}")
        tally.outcomes["compared" if reply.status_code == 200 else "busy"] += 1
        if time.monotonic() >= end:
            return
        await asyncio.sleep(1)


async def at_rest(http: httpx.AsyncClient) -> bool:
    """Whether nothing is open soon after the last client has gone."""
    for _ in range(100):
        if (await status(http))["open_requests"] == 0:
            return True
        await asyncio.sleep(0.1)
    return False


async def status(http: httpx.AsyncClient) -> dict[str, Any]:
    """What the server says of its runner."""
    models = (await http.get("/api/ps")).json()["models"]
    status: dict[str, Any] = models[0]["puna"] if models else {"pid": 0, "open_requests": 0}
    return status


def run(*, seconds: float, clients: int, seed: int) -> Tally:
    """Start a server, soak it, end it."""
    with tempfile.TemporaryFile("w+") as errors:
        places = max(2, clients - clients // 8)  # fewer than clients
        with checked_server(errors, places=places) as (url, pid):
            httpx.post(f"{url}/api/generate", json={"model": MODEL}, timeout=600).raise_for_status()
            tally = asyncio.run(soak(url, pid, seconds=seconds, clients=clients, seed=seed))
        errors.seek(0)
        if "Traceback" in (text := errors.read()):
            tally.violated(f"the server said: {text[-4000:]}")
    return tally


@contextmanager
def checked_server(errors: IO[str], *, places: int) -> Iterator[tuple[str, int]]:
    """A server whose runner checks its books; its URL and process id. What it says goes to `errors`."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, "PUNA_NUM_PARALLEL": str(PARALLEL), "PUNA_MAX_QUEUE": str(places)},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description="Many clients of one server for minutes; nothing may be stuck or lost")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    tally = run(seconds=60 * a.minutes, clients=a.clients, seed=a.seed)
    print(json.dumps(tally.summary(), indent=1))
    return int(bool(tally.violations))


if __name__ == "__main__":
    sys.exit(main())
