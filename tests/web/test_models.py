"""The models' panel, against a registry on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from puna.store import Store, layers
from tests.store.registry_server import RegistryServer, stalls_after
from tests.web.chat import ask, finished


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        running.add_model("library/small", "latest", [(layers.MODEL, Store().resolve("cria").path.read_bytes())])
        running.add_model("library/slow", "latest", [(layers.MODEL, os.urandom(3_000_000))])
        yield running


def test_a_model_is_pulled_with_progress_used_unloaded_and_deleted(
    page: Page, registry: RegistryServer, http: httpx.Client
) -> None:
    name = f"{registry.host}/library/small"
    page.locator("#open-models").click()
    page.get_by_label("Name of a model").fill(name)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Download").click()
    expect(page.locator("dialog .notice")).to_contain_text("is there")
    row = page.locator("#models .row", has_text=name)
    expect(row).to_contain_text("Q8_0")
    page.keyboard.press("Escape")
    page.locator("#model").select_option(name)
    ask(page, "Who are you?")
    finished(page)
    page.locator("#open-models").click()
    page.get_by_role("button", name=f"Unload {name}").click()
    expect(page.get_by_role("button", name=f"Unload {name}")).to_have_count(0)
    page.get_by_role("button", name=f"Delete {name}").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("button", name=f"Delete {name}")).to_have_count(0)
    assert name not in http.get("/api/tags").text


PLAN = {
    "model": "qwen3:8b",
    "file_bytes": 5_200_000_000,
    "plans": [
        {
            "verdict": "fits with",
            "words": "fits with a q8_0 KV cache",
            "context": 8192,
            "memory": {"total": 6_000_000_000},
            "room": 8_000_000_000,
            "options": [{"what": "kv_type", "value": "q8_0", "total": 6_000_000_000}],
            "speed": {"decode": 12.5, "prefill": 180.2},
        }
    ],
}


def test_what_the_planner_says_stands_before_the_download(page: Page) -> None:
    page.route("**/api/plan", lambda route: route.fulfill(json=PLAN))
    page.locator("#open-models").click()
    page.get_by_label("Name of a model").fill("qwen3:8b")
    page.keyboard.press("Enter")
    verdict = page.locator(".verdict")
    expect(verdict).to_contain_text("It fits this machine with a q8_0 KV cache.")
    expect(verdict).to_contain_text("12.5 tokens/s")
    expect(verdict.get_by_role("button", name="Download")).to_be_focused()


def test_progress_is_shown_while_it_comes_and_it_can_be_cancelled(page: Page, registry: RegistryServer) -> None:
    registry.faults.append(stalls_after(1_000_000, 0.5))
    page.locator("#open-models").click()
    page.get_by_label("Name of a model").fill(f"{registry.host}/library/slow")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Download").click()
    pulling = page.locator(".row.pulling")
    expect(pulling.locator(".facts")).to_contain_text("of 2.9 MiB")
    page.keyboard.press("Escape")  # it goes on without the panel
    page.locator("#open-models").click()
    expect(pulling.locator("progress")).to_have_attribute("max", "3000000")
    pulling.get_by_role("button", name="Cancel").click()
    expect(pulling).to_have_count(0)


def test_a_model_that_is_nowhere_is_told_in_the_servers_words(page: Page, registry: RegistryServer) -> None:
    page.locator("#open-models").click()
    page.get_by_label("Name of a model").fill(f"{registry.host}/library/none")
    page.keyboard.press("Enter")
    download = page.get_by_role("button", name="Download")
    problem = page.locator("dialog .notice.problem")
    expect(download.or_(problem).first).to_be_visible()
    if download.is_visible():  # a planner says so before there is anything to download
        download.click()
    expect(problem).to_be_visible()
