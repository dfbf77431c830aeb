"""Makes docs/pictures/*.png: the chat page as it is, with cria's own answers, in a real Chromium.

    python scripts/screenshots.py

Needs Debian's `chromium` (any on the PATH) and `fonts-noto-cjk`, and the test extra. What is shown is what the server
gave: the conversation about Markdown is an imported one, and says so.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.server.process import server_process  # noqa: E402
from tests.web.chat import ask, finished, import_conversation, ready  # noqa: E402
from tests.web.conftest import ARGUMENTS, CHROMIUM  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
WIDE = {"width": 1180, "height": 760}
PHONE = {"width": 390, "height": 780}

MARKDOWN = """\
A function's **derivative** is what its slope comes to as the step gets small:

$$f'(x) = \\lim_{h \\to 0} \\frac{f(x + h) - f(x)}{h}$$

```python
def derivative(f, x, h=1e-6):
    # central difference: the error shrinks with h squared
    return (f(x + h) - f(x - h)) / (2 * h)
```

| step $h$ | forward | central |
|---------:|--------:|--------:|
| 0.1      | 2.1     | 2.0     |
| 0.01     | 2.01    | 2.0     |
"""


def main() -> None:
    """Make all of them."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, server_process(Path(folder)) as url, sync_playwright() as playwright:
        expect.set_options(timeout=120_000)  # the first answer may wait for kernels to compile
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with opened(browser, url, viewport=WIDE) as page:
            chat(page, "What is Puna?", "How do I use Puna from Python?", "Do you speak Chinese?")
            page.locator(".usage summary").last.click()
            picture(page, "chat")
        with opened(browser, url, viewport=WIDE, color_scheme="dark") as page:
            question = {"role": "user", "content": "What is a derivative?"}
            import_conversation(page, question, {"role": "assistant", "model": "imported", "content": MARKDOWN})
            picture(page, "markdown-dark")
        with opened(browser, url, viewport=WIDE, locale="zh-CN") as page:
            chat(page, "Puna 是什么？")
            page.locator("#open-models").click()
            page.locator("#models .row").nth(1).wait_for()
            picture(page, "models-chinese")
        with opened(browser, url, viewport=WIDE) as page:
            collection(page, ROOT / "docs" / "documents.md")
            picture(page, "collection")
        with opened(browser, url, viewport=PHONE, is_mobile=True, device_scale_factor=1.5) as page:
            chat(page, "Who are you?")
            picture(page, "phone")
        browser.close()


def collection(page: Page, document: Path) -> None:
    """A document that is asked about, with the sources of the answer."""
    page.get_by_role("button", name="Collections").click()
    page.get_by_label("Name of a collection").fill("Puna's documentation")
    page.keyboard.press("Enter")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add files").click()
    chooser.value.set_files(document)
    page.get_by_text("can be asked about").wait_for()
    page.keyboard.press("Escape")
    ask(page, "What is a collection?")
    finished(page).locator(".sources summary").click()
    page.wait_for_timeout(300)  # until the page has followed what was unfolded
    page.locator(".question").scroll_into_view_if_needed()


@contextmanager
def opened(browser: Browser, url: str, **options: object) -> Iterator[Page]:
    """The page in a browser that knows nothing yet."""
    context = browser.new_context(**{"locale": "en-US", **options})  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    ready(page)
    yield page
    context.close()


def chat(page: Page, *questions: str) -> None:
    """Ask one after another."""
    for count, question in enumerate(questions, 1):
        ask(page, question)
        finished(page, count)


def picture(page: Page, name: str) -> None:
    """Without the pointer on anything."""
    page.mouse.move(0, 0)
    page.evaluate("() => document.activeElement?.blur()")
    page.wait_for_timeout(700)  # until notices and animations are over
    page.screenshot(path=PICTURES / f"{name}.png")
    if optimizer := shutil.which("pngquant"):
        os.spawnlp(os.P_WAIT, optimizer, optimizer, "--force", "--ext", ".png", str(PICTURES / f"{name}.png"))


if __name__ == "__main__":
    main()
