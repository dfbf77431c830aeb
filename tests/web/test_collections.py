"""Collections in the page: files dropped in, asked about with sources shown, chosen, deleted."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.minilm import needs_minilm
from tests.web.chat import ask, finished, sent
from tests.web.conftest import Opener

CATS = "# Cats\n\nThe cat sleeps on the sofa.\n\n# Food\n\nIt eats fish every evening.\n"
DROP = """([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name, { type: "text/markdown" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


@pytest.fixture(autouse=True)
def _no_collections_of_others(http: httpx.Client) -> None:
    for store in http.get("/v1/vector_stores").json()["data"]:
        http.delete(f"/v1/vector_stores/{store['id']}")


@needs_minilm
def test_a_file_that_is_dropped_is_asked_about_with_its_sources_shown(page: Page) -> None:
    page.evaluate(DROP, ["cats.md", CATS])
    expect(page.locator("#notices")).to_contain_text("cats.md can be asked about.")
    expect(page.get_by_role("button", name="Collections")).to_have_attribute("aria-pressed", "true")
    with page.expect_request("**/api/chat") as asked:
        ask(page, "Where does the cat sleep?")
    assert [tool["type"] for tool in sent(asked.value)["tools"]] == ["file_search"]
    answer = finished(page)
    answer.locator(".sources summary").click()
    expect(answer.locator(".sources li").first).to_contain_text("cats.md")
    expect(answer.locator(".sources ol")).to_contain_text("The cat sleeps on the sofa.")
    page.reload()
    expect(page.locator(".sources summary")).to_have_text("Sources: 2")


@needs_minilm
def test_a_collection_is_made_filled_chosen_no_more_and_deleted(page: Page, tmp_path: Path, http: httpx.Client) -> None:
    (tmp_path / "cats.md").write_text(CATS)
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    page.get_by_role("button", name="Collections").click()
    expect(page.locator("#collections")).to_contain_text("No collections yet.")
    page.get_by_label("Name of a collection").fill("pets")
    page.keyboard.press("Enter")
    chosen = page.get_by_role("button", name="Answer from pets")
    expect(chosen).to_have_attribute("aria-pressed", "true")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add files to pets").click()
    chooser.value.set_files([tmp_path / "broken.pdf", tmp_path / "cats.md"])
    expect(page.locator("dialog .notice.problem")).to_contain_text("broken.pdf: ")
    expect(page.locator("dialog")).to_contain_text("cats.md can be asked about.")
    expect(page.locator("#collections .row")).to_contain_text("2 files")
    chosen.click()
    expect(chosen).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Delete pets").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#collections")).to_contain_text("No collections yet.")
    assert http.get("/v1/vector_stores").json()["data"] == []


def test_a_collection_that_was_deleted_elsewhere_is_chosen_no_more(page: Page, http: httpx.Client) -> None:
    """Or each question of the conversation would fail, with nothing in the page to choose otherwise."""
    page.get_by_role("button", name="Collections").click()
    page.get_by_label("Name of a collection").fill("pets")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Answer from pets")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")
    http.delete("/v1/vector_stores/pets").raise_for_status()
    opener = page.get_by_role("button", name="Collections")
    opener.click()
    expect(page.locator("#collections")).to_contain_text("No collections yet.")
    page.keyboard.press("Escape")
    expect(opener).to_have_attribute("aria-pressed", "false")
    with page.expect_request("**/api/chat") as asked:
        ask(page, "Who are you?")
    assert "tools" not in sent(asked.value)
    finished(page)


def test_collections_speak_chinese(open_page: Opener) -> None:
    page = open_page(locale="zh-CN")
    page.get_by_role("button", name="资料集").click()
    expect(page.locator("#collections")).to_contain_text("还没有资料集。")


def test_every_collection_is_listed_however_many_there_are(page: Page, http: httpx.Client) -> None:
    """A page of the API's list has 20."""
    for number in range(23):
        http.post("/v1/vector_stores", json={"name": f"number {number}"}).raise_for_status()
    page.get_by_role("button", name="Collections").click()
    expect(page.locator("#collections .row")).to_have_count(23)
