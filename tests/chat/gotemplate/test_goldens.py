"""Random templates against what Go's own text/template wrote of them (make_goldens.py)."""

from __future__ import annotations

import json

from tests.chat.gotemplate.make_goldens import GOLDENS
from tests.chat.gotemplate.running import outcome


def test_random_templates_write_what_go_writes() -> None:
    cases = [json.loads(line) for line in GOLDENS.read_text("utf-8").split("\n") if line]
    assert len(cases) == 300
    different = [case["template"] for case in cases if outcome(case) != case["text"]]
    assert different == []
