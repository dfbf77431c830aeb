"""docs/api.md is what the routes say."""

from __future__ import annotations

import runpy
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "api_docs.py"


def test_the_api_page_was_made_anew_after_the_last_change_of_a_route() -> None:
    script = runpy.run_path(str(SCRIPT))
    assert script["TARGET"].read_text() == script["document"](), "run `python scripts/api_docs.py`"
