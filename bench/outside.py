"""The part of docs/performance.md about what is outside the engine: downloads, stores of vectors, texts to vectors.

Each has a machine and a command of its own; the results lie in folders beside the engine's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.results import Result, load_all

FOLDERS = ("store", "documents", "encoders")
HEAD = """\
## Outside the engine

Each measured by itself, in one run with its peer (`python -m bench pull --kills 10`, `vectors`, `embeddings`; the last
two take a peer's Python: `--chroma-python`, `--onnx-python`).

| | Puna | beside | ratio | goal | measured |
|---|---:|---:|---:|---:|---|
"""


def load_outside(folder: Path) -> list[Result]:
    """All results of these kinds."""
    return [result for name in FOLDERS for result in load_all(folder / name)]


def section(results: Sequence[Result]) -> str:
    """Markdown; nothing where nothing was measured."""
    rows = [row for result in results for row in _ROWS.get(result.scenario, _none)(result)]
    return HEAD + "\n".join(rows) + "\n" if rows else ""


def _none(_: Result) -> Iterator[str]:
    yield from ()


def _pull(result: Result) -> Iterator[str]:
    what = f"pull of {result.file_bytes / 1e9:.0f} GB over loopback, verified and on the disk"
    for measure, beside, goal in (("speed", "curl, neither", 0.8), ("speed_to_disk", "curl and fsync", None)):
        yield _row(what, result, ("puna", "speed"), ("curl", measure), "MB/s", 1e6, beside, goal)
    fetched = result.facts["puna"].get("fetched")
    if fetched:
        kills = result.facts["puna"]["kills"]
        yield _line(
            f"bytes fetched by a pull killed {kills} times", f"{fetched:.3f} of the file", "", "", "1.05", result
        )


def _vectors(result: Result) -> Iterator[str]:
    count, dimension = result.model.split("-")
    peer = str(result.facts["chroma"]["version"])
    what = f"{int(count):,} vectors of {dimension} dimensions"
    yield _row(f"{what}: built", result, ("chroma", "build"), ("puna", "build"), "s", 1, peer, None, slower=True)
    yield _row(
        f"{what}: a query, p50", result, ("chroma", "query"), ("puna", "query"), "ms", 1e-3, peer, None, slower=True
    )
    ours, theirs = (result.median(name, "recall") or 0 for name in ("puna", "chroma"))
    yield _line(f"{what}: recall@10, beside exact search", f"{ours:.3f}", f"{theirs:.3f} ({peer})", "", "0.95", result)


def _embeddings(result: Result) -> Iterator[str]:
    for ours, theirs, goal in (("Q8_0", "f32", 1.5), ("F32", "f32", None), ("Q8_0", "int8", None)):
        names = f"puna {ours}", f"onnx {theirs}"
        cosines = [f"cosine {result.median(name, 'cosine') or 0:.3f}" for name in names]
        what = f"all-MiniLM-L6-v2 in {ours} ({cosines[0]}), texts of 128 tokens"
        beside = f"ONNX Runtime {theirs}, {cosines[1]}"
        yield _row(what, result, (names[0], "rate"), (names[1], "rate"), "texts/s", 1, beside, goal)


_ROWS = {"pull": _pull, "vectors": _vectors, "embeddings": _embeddings}


def _row(
    what: str, result: Result, ours: tuple[str, str], theirs: tuple[str, str], unit: str, scale: float, beside: str,
    goal: float | None, *, slower: bool = False,
) -> str:  # fmt: skip
    """Of speeds; `slower`: of times, given the other way round."""
    ratio = result.ratio(ours, theirs) or 0
    mine, yours = (
        _amount((result.median(*each) or 0) / scale, unit) for each in ((theirs, ours) if slower else (ours, theirs))
    )
    shown = f"{ratio:.2f}x"
    reached = f"**{shown}**" if goal is not None and ratio >= goal else shown
    return _line(what, mine, f"{yours} ({beside})", reached, "" if goal is None else f"{goal:.2f}x", result)


def _line(what: str, ours: str, theirs: str, ratio: str, goal: str, result: Result) -> str:
    where = f"{result.machine.processor}, {result.machine.threads} threads, {result.date}"
    return f"| {what} | {ours} | {theirs} | {ratio} | {goal} | {where} |"


def _amount(value: float, unit: str) -> str:
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
