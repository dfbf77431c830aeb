"""Clients that hang up: streams of every dialect, cut at random points; then nothing may run on, leak or be wrong.

    python -m bench.cuts --streams 500 --clients 16 --seed 0

A quarter of the streams has an `Idempotency-Key` and is taken up where it was cut until it ends: what comes must add
up to the whole. After each stream its client asks for an answer that is known. The runner checks its scheduler's and
block manager's books after each step. Prints a summary as JSON; exits 1 if anything was violated.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.soak import MODEL, REFERENCE, STUCK_SECONDS, at_rest, checked_server, status
from puna.runtime import Runtime
from puna.store import Store

LONGEST = 20_000  # bytes that a client reads before it hangs up
KEYED = 0.25  # of the streams
MEASURED = 10  # streams, one at a time, whose end is timed
STOP_SECONDS = 0.5  # that may pass until the server says so; a step takes a few milliseconds
GROWTH_BYTES = 48 << 20  # that a process may grow in the second half


@dataclass(slots=True)
class Tally:
    """What happened."""

    outcomes: Counter[str] = field(default_factory=Counter)
    stop_seconds: list[float] = field(default_factory=list)  # from hanging up to nothing running
    violations: list[str] = field(default_factory=list)

    def check(self, holds: bool, what: str) -> None:
        """Note it unless it holds."""
        if not holds:
            self.violations.append(what)


@dataclass(frozen=True, slots=True)
class Bodies:
    """Requests for a stream by each dialect, long enough to be cut anywhere."""

    endless: dict[str, float]  # a logit_bias without which answers would end by themselves

    def random(self, rng: random.Random, tokens: int) -> tuple[str, dict[str, Any]]:
        """A path and a body."""
        text = f"{rng.random()} " * rng.randint(1, 60)
        messages = [{"role": "user", "content": text}]
        options = {"logit_bias": self.endless, "seed": rng.randrange(1000), "num_predict": tokens}
        bodies: dict[str, dict[str, Any]] = {
            "/api/generate": {"prompt": text},
            "/api/chat": {"messages": messages},
            "/v1/chat/completions": {"messages": messages},
            "/v1/completions": {"prompt": text},
            "/v1/responses": {"input": text},
            "/v1/messages": {"messages": messages, "max_tokens": tokens},
        }
        path = rng.choice(list(bodies))
        return path, {"model": MODEL, "stream": True, "options": options, **bodies[path]}


class Clients:
    """All clients of one server."""

    def __init__(self, http: httpx.AsyncClient, tally: Tally, reference: str, bodies: Bodies) -> None:
        self._http = http
        self._tally = tally
        self._reference = reference
        self._bodies = bodies

    async def run(self, rng: random.Random, todo: Iterator[int]) -> None:
        """One stream after the other, as long as there are any left to do."""
        for number in todo:
            if rng.random() < KEYED:
                await self._cut_and_take_up(rng, f"cut {number}")
                self._tally.outcomes["taken up"] += 1
            else:
                await self._cut(rng)
                self._tally.outcomes["cut"] += 1
            reply = await self._http.post("/api/generate", json=REFERENCE)
            self._tally.check(reply.json().get("response") == self._reference, f"after {number}: {reply.text}")

    async def measure(self, rng: random.Random) -> None:
        """The seconds from hanging up to nothing running, with nobody else there."""
        await self._cut(rng)
        start = time.monotonic()
        while (await status(self._http))["open_requests"] and time.monotonic() < start + STUCK_SECONDS:
            await asyncio.sleep(0.001)
        self._tally.stop_seconds.append(time.monotonic() - start)

    async def _cut(self, rng: random.Random) -> None:
        path, body = self._bodies.random(rng, 5000)
        await self._read(path, body, int(2 ** rng.uniform(0, 14.3)))

    async def _cut_and_take_up(self, rng: random.Random, key: str) -> None:
        """Cut three times, and then read to its end."""
        path, body = self._bodies.random(rng, rng.randint(1, 80))
        headers, end = {"Idempotency-Key": key}, b"\n" if path.startswith("/api") else b"\n\n"
        kept: list[bytes] = []  # whole pieces
        for limit in (*(rng.randint(1, LONGEST // 4) for _ in range(3)), None):
            params = {"after": len(kept)} if kept else None
            data = await self._read(path, body, limit, headers=headers, params=params)
            kept += [piece + end for piece in data.split(end)[:-1]]
        whole = await self._read(path, body, None, headers=headers)
        self._tally.check(b"".join(kept) == whole, f"{path} {key}: {len(b''.join(kept))} bytes instead of {len(whole)}")

    async def _read(self, path: str, body: dict[str, Any], limit: int | None, **more: Any) -> bytes:
        """Up to `limit` bytes, then hang up; None: all of it."""
        data = bytearray()
        async with self._http.stream("POST", path, json=body, **more) as response:
            self._tally.check(response.status_code == 200, f"{path}: {response.status_code}")
            async for chunk in response.aiter_raw():
                data += chunk
                if limit is not None and len(data) >= limit:
                    return bytes(data[:limit])
        return bytes(data)


async def cut(url: str, pid: int, *, streams: int, clients: int, seed: int) -> Tally:
    """All of it, against a server that has loaded the model."""
    tally, warm_up = Tally(), streams // 2
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=url, timeout=STUCK_SECONDS, limits=limits) as http:
        reference = (await http.post("/api/generate", json=REFERENCE)).json()["response"]
        every = Clients(http, tally, reference, Bodies(_endless()))
        runner = (await status(http))["pid"]
        processes = {"server": psutil.Process(pid), "runner": psutil.Process(runner)}
        for index in range(MEASURED):
            await every.measure(random.Random(f"{seed} measured {index}"))
        tally.check(max(tally.stop_seconds) <= STOP_SECONDS, f"it ran on for {max(tally.stop_seconds)} s")
        before = {}
        random_of = [random.Random(f"{seed} {index}") for index in range(clients)]
        for todo in (iter(range(warm_up)), iter(range(warm_up, streams))):
            before = {name: _size(process) for name, process in processes.items()}
            await asyncio.gather(*(every.run(rng, todo) for rng in random_of))
        tally.check(await at_rest(http), "requests are still open")
        tally.check((await status(http))["pid"] == runner, "the runner has died and was started again")
        for name, process in processes.items():
            (files, memory), (now, grown) = before[name], _size(process)
            tally.check(now <= files + 1, f"the {name} had {files} files open, and now {now}")
            tally.check(grown <= memory + GROWTH_BYTES, f"the {name} grew from {memory} to {grown} bytes")
    return tally


def _endless() -> dict[str, float]:
    with Runtime(Store(Path("none"))) as runtime:
        return {str(token): -100.0 for token in runtime.text_model(MODEL).tokenizer.eog_ids}


def _size(process: psutil.Process) -> tuple[int, int]:
    return process.num_fds(), process.memory_info().rss


def run(*, streams: int, clients: int, seed: int) -> Tally:
    """Start a server, cut its streams, end it."""
    with tempfile.TemporaryFile("w+") as errors:
        with checked_server(errors, places=512) as (url, pid):
            httpx.post(f"{url}/api/generate", json={"model": MODEL}, timeout=600).raise_for_status()
            tally = asyncio.run(cut(url, pid, streams=streams, clients=clients, seed=seed))
        errors.seek(0)
        text = errors.read()
        tally.check("Traceback" not in text, f"the server said: {text[-4000:]}")
    return tally


def main() -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description="Streams cut at random points; nothing may run on, leak or be wrong")
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    tally = run(streams=a.streams, clients=a.clients, seed=a.seed)
    slowest = max(tally.stop_seconds)
    print(json.dumps({**tally.outcomes, "stop_seconds": slowest, "violations": tally.violations}, indent=1))
    return int(bool(tally.violations))


if __name__ == "__main__":
    sys.exit(main())
