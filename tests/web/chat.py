"""What is done on the page again and again."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Page, Request, expect

from tests.server.test_failures import ENDLESS


def ready(page: Page) -> None:
    """It has read what it kept, and knows the models."""
    page.locator("body[data-ready]").wait_for()


def ask(page: Page, text: str) -> None:
    """Write a question and send it by the keyboard."""
    page.locator("#composer textarea").fill(text)
    page.keyboard.press("Enter")


def answers(page: Page) -> Locator:
    return page.locator(".answer")


def finished(page: Page, count: int = 1) -> Locator:
    """The last answer, once so many are there and none is being written."""
    expect(page.locator(".answer:not(.writing) .usage")).to_have_count(count)
    return answers(page).last


def text_of(answer: Locator) -> str:
    return answer.locator("> .markdown").inner_text()


def import_conversation(page: Page, *messages: dict[str, Any], model: str = "cria", **settings: Any) -> None:
    """A conversation from a file: each message follows the one before."""
    made = [
        {"id": str(at), "parent": str(at - 1) if at else None, "created": at, "state": "done", **message}
        for at, message in enumerate(messages)
    ]
    leaf = made[-1]["id"] if made else None
    conversation = {"title": "imported", "model": model, "settings": settings, "leaf": leaf, "messages": made}
    import_file(page, {"format": "puna-conversations", "version": 1, "conversations": [conversation]})


def import_file(page: Page, content: object) -> None:
    page.locator("#open-preferences").click()
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Import conversations").click()
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    chosen.value.set_files({"name": "file.json", "mimeType": "application/json", "buffer": data})
    expect(page.locator("dialog .notice")).to_be_visible()
    page.keyboard.press("Escape")


def start_endless(page: Page, tokens: int = 1900) -> None:
    """A question whose answer goes on for so long (tokens)."""
    import_conversation(page, options={**ENDLESS, "num_predict": tokens})
    ask(page, "hi")
    expect(page.locator(".answer.writing > .markdown")).not_to_be_empty()


def sent(request: Request) -> dict[str, Any]:
    """The body of a request."""
    return dict(json.loads(request.post_data or ""))


def kept(page: Page) -> list[dict[str, Any]]:
    """The messages that the browser has, each after the one that it follows (a question and its answer may be of one
    millisecond)."""
    found: list[dict[str, Any]] = page.evaluate(
        """async () => {
            const { Database } = await import('/web/data/database.js');
            const database = await Database.open();
            const all = await Promise.all((await database.conversations()).map(each => database.messages(each.id)));
            database.db.close();
            return all.flat();
        }"""
    )
    parents = {message["id"]: message["parent"] for message in found}

    def depth(message: str | None) -> int:
        return 0 if message is None else 1 + depth(parents[message])

    return sorted(found, key=lambda message: depth(message["id"]))
