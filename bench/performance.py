"""Everything that docs/performance.md says, in one run: makes the models, measures, writes page and picture."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from bench import make_model
from bench.figures import groups
from bench.outside import load_outside
from bench.page import page
from bench.picture import picture
from bench.process import ROOT, ContestantError
from bench.results import FOLDER, load_all
from bench.scenarios import SCENARIOS
from bench.session import Options

DOCS = ROOT / "docs"
# What says most first: where time runs out, the rest keeps its last results.
ORDER = ("loading", "sampling", "copying", "chat", "server", "clients", "avx2", "speed", "long")


def runs() -> list[tuple[str, str]]:
    """Scenarios and models that the table draws on, in the order they are run."""
    needed = dict.fromkeys((figure.scenario, figure.model) for group in groups() for figure in group.figures)
    return sorted(needed, key=lambda run: ORDER.index(run[0]))


def make_models(folder: Path) -> None:
    """Those that are not there yet."""
    for model in sorted({model for _, model in runs()}):
        shape, _, file_type = model.rpartition("-")
        path = make_model.model_path(folder, shape, file_type)
        if not path.exists():
            print(f"making {path}", flush=True)
            make_model.write(path, make_model.SHAPES[shape], file_type)


def run_all(folder: Path, options: Options, minutes: float | None) -> None:
    """Measure all, keep each result at once, write the page. What fails is said, and the rest goes on."""
    make_models(folder)
    started = time.monotonic()
    deadline = None if minutes is None else started + 60 * minutes
    for scenario, model in runs():
        if deadline is not None and time.monotonic() > deadline:
            print(f"{scenario} of {model}: not measured, the time is over", flush=True)
            continue
        print(f"{scenario} of {model} ({(time.monotonic() - started) / 60:.1f} min)", flush=True)
        try:
            SCENARIOS[scenario](folder / f"{model}.gguf", replace(options, deadline=deadline)).save()
        except ContestantError as error:
            print(f"  failed: {error}", flush=True)
    write_page()


def write_page(folder: Path = FOLDER, docs: Path = DOCS) -> None:
    """docs/performance.md and its picture, from the results in `folder`."""
    results = load_all(folder)
    (docs / "performance.md").write_text(page(results, load_outside(folder)), encoding="utf-8")
    (docs / "performance.svg").write_text(picture(results), encoding="utf-8")
