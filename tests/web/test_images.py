"""Pictures dropped into the page, for a model that sees."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.server.test_images import WIDE, seeing_server
from tests.web.chat import ask, finished, kept, sent
from tests.web.conftest import Opener

DROP = """base64 => {
    const bytes = Uint8Array.from(atob(base64), each => each.charCodeAt(0));
    const data = new DataTransfer();
    data.items.add(new File([bytes], "picture.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
}"""


def test_a_picture_is_dropped_sent_answered_and_kept(open_page: Opener, tmp_path: Path) -> None:
    with seeing_server(tmp_path) as url:
        page = open_page(url)
        page.locator("#model").select_option("seeing")
        expect(page.get_by_role("button", name="Add images")).to_be_visible()
        page.evaluate(DROP, WIDE)
        expect(page.locator(".thumbnails img")).to_have_count(1)
        with page.expect_request("**/api/chat") as asked:
            ask(page, "what is this?")
        assert sent(asked.value)["messages"][-1]["images"] == [WIDE]
        finished(page)
        expect(page.locator(".thumbnails img")).to_have_count(0)
        assert kept(page)[-1]["state"] == "done"
        page.reload()
        expect(page.locator(".question .images img")).to_have_count(1)
