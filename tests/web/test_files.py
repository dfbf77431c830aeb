"""The page's files: who gets them, how large they are, that none is forgotten."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from puna.server.web import assets

WEB = Path(__file__).parents[2] / "src" / "puna" / "web"
MOST_BYTES = 150_000  # as they are written
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_browsers_get_the_page_and_programs_the_heartbeat(http: httpx.Client) -> None:
    page = http.get("/", headers=BROWSER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<!doctype html>" in page.text
    for accept in ("*/*", "application/json", "text/plain"):
        beat = http.get("/", headers={"Accept": accept})
        assert beat.text == "Ollama is running"
        assert "Accept" in beat.headers["vary"]
    assert http.head("/", headers=BROWSER).status_code == 200


def test_what_has_not_changed_is_not_sent_again(http: httpx.Client) -> None:
    first = http.get("/web/app.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    again = http.get("/web/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_who_takes_no_compression_gets_none(http: httpx.Client) -> None:
    plain = http.get("/web/app.js", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == (WEB / "app.js").read_bytes()


@pytest.mark.parametrize("name", ["none.js", "../server/app.py", "..%2fserver%2fapp.py", "%2e%2e/errors.py", ""])
def test_nothing_else_is_served(http: httpx.Client, name: str) -> None:
    assert http.get(f"/web/{name}").status_code == 404


def test_all_of_it_is_light() -> None:
    assert sum(path.stat().st_size for path in served()) < MOST_BYTES


def test_every_module_is_loaded_at_once(http: httpx.Client) -> None:
    """One that is missing in the page is fetched late; one too many is fetched in vain."""
    named = re.findall(r'modulepreload" href="/web/([^"]+)"', http.get("/", headers=BROWSER).text)
    scripts = {str(path.relative_to(WEB)) for path in served() if path.suffix == ".js"}
    assert sorted(named) == sorted(scripts - {"theme.js"})


def test_every_text_of_the_page_is_in_chinese_too() -> None:
    code = "".join(path.read_text("utf-8") for path in WEB.rglob("*.js") if path.name != "words.js")
    words = set(re.findall(r"^(.+) = .+$", (WEB / "text" / "words.js").read_text("utf-8"), re.MULTILINE))
    words = {word for word in words if not word.startswith(("const ", "export "))}
    assert len(words) > 100
    said = {
        text for call in re.findall(r"\bt\(([^()]*)\)", code) for text in re.findall(r'"([^"]+)"', call.split("{")[0])
    }
    assert said - words == set()
    assert [word for word in words if f'"{word}"' not in code] == []


def test_what_is_installed_has_every_file() -> None:
    """Where the package was installed from a wheel, as in CI, this is what the wheel holds."""
    assert set(assets()) == {str(path.relative_to(WEB)) for path in served()}


def served() -> list[Path]:
    """The page's files: all of the folder is served."""
    return [path for path in WEB.rglob("*") if path.is_file()]
