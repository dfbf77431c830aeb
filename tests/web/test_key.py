"""A server that needs a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.server.process import server_process
from tests.web.chat import ask, finished, ready
from tests.web.conftest import Opener
from tests.web.test_collections import CATS, DROP

KEY = "sk-puna-of-the-test"


@pytest.fixture(scope="module")
def locked(models: Path) -> Iterator[str]:
    with server_process(models, api_key=KEY) as url:
        yield url


def test_the_key_is_asked_for_kept_and_sent(open_page: Opener, locked: str) -> None:
    page = open_page(locked, expect_ready=False)
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("does not know this key")
    dialog.get_by_label("API key").fill(KEY)
    page.keyboard.press("Enter")
    ready(page)
    ask(page, "Who are you?")
    finished(page)
    page.reload()
    ready(page)
    expect(dialog).to_have_count(0)
    page.evaluate(DROP, ["cats.md", CATS])  # a form is sent with the key, too
    expect(page.locator("#notices")).to_contain_text("cats.md can be asked about.")


def test_without_a_key_the_page_says_what_is_missing(open_page: Opener, locked: str) -> None:
    page = open_page(locked, expect_ready=False)
    expect(page.get_by_role("dialog")).to_contain_text("puna keys create")
    page.keyboard.press("Escape")
    expect(page.locator(".notice.problem").first).to_contain_text("needs a key")
