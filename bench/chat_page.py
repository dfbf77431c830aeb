"""The chat page: how long it takes to load, and what it adds to the server's work while an answer streams into it.

    python -m bench.chat_page --rounds 7

Loading is measured by the browser itself (a real Chromium that has nothing cached): until its load event, and until the
page can be written into. The server's work is the processor time of its processes for one long answer, asked for by the
page and then, with the same body, by a bare client; rounds alternate. Server and clients have half of the cores each:
threads that wait for one another by spinning count more processor time where a browser takes their core away. cria is
the model, so what is beside the model weighs as much as it ever can. Prints JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
from collections.abc import Callable, Iterator
from functools import partial

import httpx
import psutil
from playwright.sync_api import Browser, Page, expect, sync_playwright
from tests.web.chat import finished, ready, start_endless
from tests.web.conftest import ARGUMENTS, CHROMIUM

from bench.server import PunaServer

TOKENS = 1500
TIMES = """() => {
    const [page] = performance.getEntriesByType("navigation");
    const files = performance.getEntriesByType("resource").filter(each => each.name.includes("/web/"));
    return {
        load: page.loadEventEnd,
        ready: performance.getEntriesByName("ready")[0].startTime,
        bytes: [page, ...files].reduce((sum, each) => sum + each.encodedBodySize, 0),
        files: files.length + 1,
    };
}"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.chat_page")
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    if not half:
        parser.error("server and browser need a core each")
    expect.set_options(timeout=300_000)
    with PunaServer({}) as server, _chromium() as browser:
        loads = [_load(browser, server.url) for _ in range(rounds)]
    os.sched_setaffinity(0, cores[:half])  # what is started inherits it
    with PunaServer({"PUNA_THREADS": str(half)}) as server:
        os.sched_setaffinity(0, cores[half:])
        httpx.post(f"{server.url}/api/generate", json={"model": "cria"}, timeout=300).raise_for_status()
        with _chromium() as browser:
            work = _work(browser, server, rounds)
    middle = {name: statistics.median(load[name] for load in loads) for name in loads[0]}
    pages, bare = (statistics.median(each) for each in zip(*work, strict=True))
    result = {"page": middle, "cpu_seconds": {"page": pages, "bare": bare}, "added": pages / bare - 1}
    print(json.dumps(result, indent=1))


@contextlib.contextmanager
def _chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


def _load(browser: Browser, url: str) -> dict[str, float]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    ready(page)
    times: dict[str, float] = page.evaluate(TIMES)
    context.close()
    return times


def _work(browser: Browser, server: PunaServer, rounds: int) -> list[tuple[float, float]]:
    """Processor seconds of the server for the same answer: for the page, for a bare client."""
    result = []
    for _ in range(rounds):
        page = browser.new_context().new_page()
        page.goto(server.url)
        ready(page)
        with page.expect_request("**/api/chat", timeout=0) as asked:
            for_page = _spent(server, partial(_answer, page))
        body = asked.value.post_data
        result.append((for_page, _spent(server, partial(_bare, server.url, body))))
        page.context.close()
    return result


def _answer(page: Page) -> None:
    start_endless(page, TOKENS)
    finished(page)


def _bare(url: str, body: str | None) -> None:
    with httpx.stream("POST", f"{url}/api/chat", content=body, timeout=300) as response:
        for _ in response.iter_bytes():
            pass


def _spent(server: PunaServer, work: Callable[[], None]) -> float:
    before = _processor_seconds(server.pid)
    work()
    return _processor_seconds(server.pid) - before


def _processor_seconds(pid: int) -> float:
    process = psutil.Process(pid)
    return sum(sum(each.cpu_times()[:2]) for each in [process, *process.children(recursive=True)])


if __name__ == "__main__":
    main()
