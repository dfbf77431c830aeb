"""The Markdown module, in the browser that runs it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.web.chat import ask, import_conversation
from tests.web.conftest import Opener


def parse(page: Page, text: str) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = page.evaluate(
        "async text => (await import('/web/markdown/blocks.js')).parsePieces(text).map(piece => piece.block)",
        text,
    )
    return parsed


def rendered(page: Page, text: str) -> str:
    """As markup, without what only makes it look well."""
    made: str = page.evaluate(
        """async text => {
            const { MarkdownView } = await import('/web/markdown/render.js');
            const parent = document.createElement('div');
            new MarkdownView(parent).update(text);
            parent.querySelectorAll('.code-head').forEach(node => node.remove());
            return parent.innerHTML.replace(/ (class|tabindex|role|aria-label|target|rel|title)="[^"]*"/g, '');
        }""",
        text,
    )
    return made


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("# A\n## B\ntext", "<h3>A</h3><h4>B</h4><p>text</p>"),
        ("A\n===\nB\n---", "<h3>A</h3><h4>B</h4>"),
        ("a\nb\n\nc", "<p>a<br>b</p><p>c</p>"),
        ("*a* **b** ***c*** ~~d~~", "<p><em>a</em> <strong>b</strong> <em><strong>c</strong></em> <s>d</s></p>"),
        ("snake_case_name and _this_", "<p>snake_case_name and <em>this</em></p>"),
        ("2 * 3 * 4", "<p>2 * 3 * 4</p>"),
        ("这是**重点。**然后", "<p>这是<strong>重点。</strong>然后</p>"),
        ("`a*b*` ``c`d``", "<p><code>a*b*</code> <code>c`d</code></p>"),
        ("\\*no\\* &lt;b&gt;", "<p>*no* &lt;b&gt;</p>"),
        ("<b>x</b> a<br>b", "<p>&lt;b&gt;x&lt;/b&gt; a<br>b</p>"),
        ("[a *b*](https://e.org/x_(y))", '<p><a href="https://e.org/x_(y)">a <em>b</em></a></p>'),
        ("see https://e.org/a_b, now", '<p>see <a href="https://e.org/a_b">https://e.org/a_b</a>, now</p>'),
        ("[x](/relative)", "<p><span>x (/relative)</span></p>"),
        ("- a\n- b\n  - c\n1. d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul><ol><li>d</li></ol>"),
        ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
        ("1. a\n  - b\n2. c", "<ol><li>a<ul><li>b</li></ul></li><li>c</li></ol>"),
        ("- a\n\n  b\n- c", "<ul><li><p>a</p><p>b</p></li><li><p>c</p></li></ul>"),
        ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
        ("```text\n<b>\n\n*x*\n```\nafter", "<div><pre><code>&lt;b&gt;\n\n*x*</code></pre></div><p>after</p>"),
        ("````\n```\n````", "<div><pre><code>```</code></pre></div>"),
        ("    indented", "<div><pre><code>indented</code></pre></div>"),
        ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
        ("costs $5 and $10", "<p>costs $5 and $10</p>"),
        ("$\\unknown{x}_a*b*$", "<p><span>\\unknown{x}_a*b*</span></p>"),
    ],
)
def test_markup_is_read_as_it_is_meant(shared_page: Page, text: str, markup: str) -> None:
    assert rendered(shared_page, text) == markup


def test_tables_keep_their_columns(shared_page: Page) -> None:
    [table] = parse(shared_page, "| a | b\\|c |\n|:--|--:|\n| `x|y` | 2 | 3 |\n| only |")
    assert table["header"] == ["a", "b|c"]
    assert table["align"] == ["left", "right"]
    assert table["rows"] == [["`x|y`", "2"], ["only", ""]]


@pytest.mark.parametrize(
    ("tex", "shown"),
    [
        ("x^2 + y_1", "x2+y1"),
        ("\\frac{a}{b}", "ab"),
        ("\\sqrt[3]{x} \\cdot \\alpha", "x3⋅α"),
        ("\\left( \\sum_{i=0}^{n} i \\right]", "(∑i=0ni]"),
        ("\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "(1234)"),
        ("\\text{if } x \\ne 0", "if\u00a0x≠0"),
    ],
)
def test_maths_is_set_by_the_browser(shared_page: Page, tex: str, shown: str) -> None:
    made = shared_page.evaluate(
        """async tex => {
            const { mathElement } = await import('/web/markdown/maths.js');
            const made = mathElement(tex, true);
            return [made.localName, made.textContent];
        }""",
        tex,
    )
    assert made == ["math", shown]


def test_a_growing_text_ends_as_if_it_had_come_at_once_and_what_stands_stays(shared_page: Page) -> None:
    text = "# A\n\npara *one*\n\n- a\n- b\n\n```py\nx = 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nend"
    same, kept = shared_page.evaluate(
        """async text => {
            const { MarkdownView } = await import('/web/markdown/render.js');
            const [grown, whole] = [document.createElement('div'), document.createElement('div')];
            const view = new MarkdownView(grown);
            let first = null;
            for (let end = 1; end <= text.length; end += 1) {
                view.update(text.slice(0, end));
                if (end === 20) first = grown.firstChild;
            }
            new MarkdownView(whole).update(text);
            return [grown.innerHTML === whole.innerHTML, grown.firstChild === first];
        }""",
        text,
    )
    assert same
    assert kept


HOSTILE = [
    "*", "**a ", "_a", "*a_", "~~", "[", "[a](", "![", "`", "` `` ", "``` ", "$", "$a ", "$$\n", "\\(", "> ", "\n> ",
    "- ", "  - ", "1. ", "|", "a|b\n-|-\n", "#", "<", "&", "h", "https://", " ", "\\", "'\\",
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_no_text_takes_long(shared_page: Page, piece: str) -> None:
    """Hostile text must not freeze the page: 100,000 characters, where quadratic work would take minutes."""
    text = piece * (100_000 // len(piece))
    began = time.monotonic()
    rendered(shared_page, text)
    rendered(shared_page, f"```python\n{text}\n```")
    assert time.monotonic() - began < 10


def test_code_is_copied_as_it_was_written(open_page: Opener) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    code = "def f():\n    return '<b>' # x\n"
    import_conversation(
        page, {"role": "user", "content": "q"}, {"role": "assistant", "content": f"```python\n{code}```"}
    )
    page.locator(".code .copy").click()
    expect(page.locator(".code .copy")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == code.rstrip("\n")
    ask(page, "")  # nothing is asked
    expect(page.locator(".question")).to_have_count(1)
