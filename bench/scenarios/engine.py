"""Puna's engine beside itself: speculation, and what sampling costs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench.results import Result
from bench.session import Options, Session

COPIED = 300  # tokens: the whole passage


def copying(model: Path, options: Options, *, generated: int = COPIED) -> Result:
    """An answer that repeats a passage of 300 tokens, with speculation and without."""
    with Session(options) as session:
        puna = session.start("puna_engine")
        session.load({"puna": puna}, path=str(model), context=generated + 512)
        return session.result("copying", model, session.compare({"puna": puna}, "copying", generated))


def sampling(model: Path, options: Options) -> Result:
    """Seconds of drawing a token with the default parameters, and of the decode step before it."""
    with Session(options) as session:
        puna = session.start("puna_engine")
        session.load({"puna": puna}, path=str(model), context=512)
        return session.result("sampling", model, session.rounds({"puna": partial(puna.ask, "sampling")}))
