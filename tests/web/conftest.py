"""A real Chromium on pages of the real server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.web.chat import ready

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
ARGUMENTS = ["--no-sandbox", "--disable-gpu", *QUIET]

Opener: TypeAlias = Callable[..., Page]


@pytest.fixture(scope="package")  # not longer: Playwright's event loop would stand in the way of other tests'
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        expect.set_options(timeout=30_000)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[Opener]:
    """Opens the page in a browser that knows nothing yet: `open_page(at=URL, locale="zh-CN", ...)`.

    A script that raises, and whatever the page's own policy has to refuse, fails the test.
    """
    wrong: list[str] = []
    with ExitStack() as stack:

        def opener(at: str = url, *, expect_ready: bool = True, **options: object) -> Page:
            context = browser.new_context(**{"locale": "en-US", "accept_downloads": True, **options})  # type: ignore[arg-type]
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("console", lambda message: wrong.append(message.text) if "Policy" in message.text else None)
            page.goto(at)
            if expect_ready:
                ready(page)
            return page

        yield opener
    assert wrong == []


@pytest.fixture
def page(open_page: Opener) -> Page:
    return open_page()


@pytest.fixture(scope="package")
def shared_page(browser: Browser, url: str) -> Iterator[Page]:
    """One page for tests of modules, which leave nothing behind."""
    context = browser.new_context(locale="en-US")
    page = context.new_page()
    page.goto(url)
    ready(page)
    yield page
    context.close()
