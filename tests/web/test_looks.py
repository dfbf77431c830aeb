"""Chinese and English, dark and light, a phone, and what axe finds."""

from __future__ import annotations

from importlib.resources import files

import pytest
from playwright.sync_api import Page, expect

from tests.web.chat import ask, finished, import_conversation
from tests.web.conftest import Opener

AXE = files("axe_playwright_python") / "axe.min.js"
EVERYTHING = """# Title
Text with `code`, **bold**, a [link](https://example.org) and $x^2$.

```python
print("hello")  # said
```

| a | b |
|---|--:|
| 1 | 2 |

- [x] done
- item

$$\\sum_{i=1}^n i$$
"""
BRIGHTNESS = "() => getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).slice(0, 3).map(Number)"


def test_a_chinese_browser_gets_a_chinese_page_and_composing_sends_nothing(open_page: Opener) -> None:
    page = open_page(locale="zh-CN")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    expect(page.locator("#new-chat")).to_have_text("新对话")
    area = page.locator("#composer textarea")
    area.fill("你会说中文吗")
    area.dispatch_event("keydown", {"key": "Enter", "isComposing": True})  # Enter chooses a word
    expect(page.locator(".question")).to_have_count(0)
    area.press("Enter")
    assert finished(page).locator(".usage summary").inner_text().startswith(tuple("0123456789"))
    expect(page.locator(".usage summary")).to_contain_text("个词元")


def test_the_language_can_be_chosen(page: Page) -> None:
    page.locator("#open-preferences").click()
    with page.expect_navigation():
        page.get_by_label("Language").select_option("zh")
    expect(page.locator("#new-chat")).to_have_text("新对话")


def test_dark_and_light_follow_the_system_unless_one_was_chosen(open_page: Opener) -> None:
    page = open_page(color_scheme="dark")
    assert max(page.evaluate(BRIGHTNESS)) < 60
    page.locator("#open-preferences").click()
    page.get_by_label("Theme").select_option("light")
    assert min(page.evaluate(BRIGHTNESS)) > 200
    page.reload()
    assert min(page.evaluate(BRIGHTNESS)) > 200


def test_on_a_phone_everything_is_within_reach(open_page: Opener) -> None:
    page = open_page(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    import_conversation_on_a_phone(page)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("#sidebar")).not_to_be_in_viewport()
    page.locator("#open-sidebar").tap()
    page.locator("#new-chat").tap()
    expect(page.locator("#sidebar")).not_to_be_in_viewport()
    ask(page, "Who are you?")
    finished(page)


def import_conversation_on_a_phone(page: Page) -> None:
    page.locator("#open-sidebar").tap()
    import_conversation(page, {"role": "user", "content": "show"}, {"role": "assistant", "content": EVERYTHING * 3})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Opener, scheme: str) -> None:
    page = open_page(color_scheme=scheme, bypass_csp=True)
    assert serious(page) == []  # the empty page
    import_conversation(
        page,
        {"role": "user", "content": "show"},
        {"role": "assistant", "model": "cria", "content": EVERYTHING, "thinking": "well", "report": {"eval_count": 1}},
    )
    page.locator(".usage summary").click()
    assert serious(page) == []
    for button in ("#open-models", "#open-settings", "#open-preferences"):
        page.locator(button).click()
        page.wait_for_timeout(100)
        assert serious(page) == [], button
        page.keyboard.press("Escape")
    page.get_by_role("button", name="Collections").click()
    page.locator("#collections .nothing, #collections .row").first.wait_for()
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.locator("#conversation-menu").click()
    assert serious(page) == []


def serious(page: Page) -> list[str]:
    """What keeps people out, with where it is."""
    if page.evaluate("() => typeof axe === 'undefined'"):
        page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("async () => (await axe.run()).violations")
    return [
        f"{each['id']}: {[node['target'] for node in each['nodes']]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
