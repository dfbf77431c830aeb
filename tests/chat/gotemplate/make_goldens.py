"""Has Go execute random templates, and keeps what it wrote.

python -m tests.chat.gotemplate.make_goldens             # rewrites goldens.jsonl; needs Go 1.24 or later
python -m tests.chat.gotemplate.make_goldens --compare N # compares N further templates, keeps nothing
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.chat.gotemplate.generating import case
from tests.chat.gotemplate.running import outcome

HERE = Path(__file__).parent
GOLDENS = HERE / "goldens.jsonl"
TEXTS, ERRORS = 250, 50
LENGTH = 250  # characters of a template that is kept, and of what it writes

# Addresses, and the names of the oracle's own types.
_ITS_OWN = re.compile(r"0x[0-9a-f]{8,}|\b\d{15,}\b|[+-][0-9a-f]{11,}|main\.")


def oracle(cases: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What Go makes of them: {"text"} or {"error"} for each."""
    lines = "".join(json.dumps(each) + "\n" for each in cases)
    run = subprocess.run(
        ["go", "run", HERE / "oracle.go"], input=lines, capture_output=True, encoding="utf-8", check=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def comparable(seeds: Iterable[int]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Cases, and what Go writes; None for an error."""
    cases = [case(seed) for seed in seeds]
    for each, result in zip(cases, oracle(cases), strict=True):
        text = result.get("text")
        if text is None or not _ITS_OWN.search(text):
            yield each, text


def _make() -> None:
    written: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for each, text in comparable(range(4000)):
        if len(each["template"]) > LENGTH or len(text or "") > LENGTH:
            continue
        (failed if text is None else written).append({**each, "text": text})
    kept = sorted(written, key=lambda each: -each["template"].count("{{"))[: 2 * TEXTS : 2] + failed[:ERRORS]
    lines = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) + "\n" for each in kept]
    GOLDENS.write_text("".join(lines), encoding="utf-8")
    print(f"{len(kept)} cases in {GOLDENS.name}")


def _compare(count: int) -> None:
    start = 1_000_000
    different = [(each, text) for each, text in comparable(range(start, start + count)) if outcome(each) != text]
    for each, text in different:
        print(json.dumps(each, ensure_ascii=False), "\nGo:  ", repr(text), "\nhere:", repr(outcome(each)), "\n")
    print(f"{len(different)} of {count} differ")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--compare", type=int, metavar="N")
    arguments = parser.parse_args()
    _make() if arguments.compare is None else _compare(arguments.compare)
