"""From an imported library to the first token, and the most memory that took: Puna beside llama.cpp.

Each time in a fresh process, with the model file in the system's cache and Puna's kernels compiled.
"""

from __future__ import annotations

from pathlib import Path

from bench.process import Contestant
from bench.results import Measures, Result
from bench.session import Options, Session, Turn

PROMPT = 16


def loading(model: Path, options: Options) -> Result:
    """Seconds and bytes."""
    _read(model)
    with Session(options) as session:
        turns: dict[str, Turn] = {"puna": lambda: _first_token(session.start("puna"), model, options)}
        if "llama.cpp" in options.peers:
            turns["llama.cpp"] = lambda: _first_token(session.peer("llama.cpp"), model, options)
        return session.result("loading", model, session.rounds(turns))


def _first_token(contestant: Contestant, model: Path, options: Options) -> Measures:
    measures: Measures = contestant.ask("first_token", path=str(model), threads=options.team, prompt=PROMPT)
    contestant.close()
    return measures


def _read(model: Path) -> None:
    """Into the system's cache."""
    with model.open("rb") as file:
        while file.read(1 << 24):
            pass
