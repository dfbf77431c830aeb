"""A scenario's contestants, loaded side by side, and rounds in which each has its turn."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.process import Contestant, ContestantError
from bench.results import Machine, Measures, Result, Round
from puna import hardware

PAUSE = 0.5  # seconds before each turn, for the threads of the one before that still spin

WARM_UP = 4  # tokens decoded to warm up

Turn = Callable[[], Measures]

PEERS = ("llama.cpp", "ik_llama.cpp", "xllamacpp", "openvino-genai")


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure, and where the peers are."""

    threads: int = 0  # 0: as many as Puna would take
    rounds: int = 3
    peers: Sequence[str] = PEERS  # those that may take part
    llama_python: str = sys.executable  # a Python that has llama_cpp
    llama_flash: str = "auto"
    xllamacpp_python: str = sys.executable
    openvino_python: str = sys.executable
    ik_bench: str | None = None  # ik_llama.cpp's llama-bench
    deadline: float | None = None  # time.monotonic() after which no round begins

    @property
    def team(self) -> int:
        """Threads to compute with."""
        return self.threads or hardware.threads()


class Session:
    """Contestants of one scenario, which end with it. Where Puna itself fails, a ContestantError ends the scenario."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.facts: dict[str, dict[str, Any]] = {}
        self.absent: dict[str, str] = {}
        self._open: list[Contestant] = []
        self._limits = self.start("limits")
        self.facts["limits"] = self._limits.ask("load", threads=options.team)

    def start(self, module: str, *arguments: str, python: str = sys.executable, **environment: str) -> Contestant:
        """A contestant's process."""
        contestant = Contestant(module, arguments, python=python, environment=environment)
        self._open.append(contestant)
        return contestant

    def peers(self, *names: str) -> dict[str, Contestant]:
        """Those of them that may take part and can be started."""
        found = {}
        for name in names:
            if name not in self.options.peers:
                continue
            try:
                found[name] = self.peer(name)
            except ContestantError as error:
                self._fail(name, error)
        return found

    def peer(self, name: str) -> Contestant:
        """One of PEERS; raises ContestantError if it is not to be had."""
        o = self.options
        match name:
            case "llama.cpp":
                return self.start("llama_cpp", "--flash", o.llama_flash, python=o.llama_python)
            case "xllamacpp":
                return self.start("xllamacpp", python=o.xllamacpp_python)
            case "openvino-genai":
                return self.start("openvino", python=o.openvino_python)
            case "ik_llama.cpp" if o.ik_bench is not None:
                return self.start("ik_llama_cpp", o.ik_bench)
        raise ContestantError("its llama-bench was not given (--ik-bench)")

    def load(self, contestants: Mapping[str, Contestant], **arguments: object) -> dict[str, Contestant]:
        """Let each load its model and note what it says of itself; those that could."""
        loaded = {}
        for name, contestant in contestants.items():
            try:
                self.facts[name] = contestant.ask("load", threads=self.options.team, **arguments)
            except ContestantError as error:
                self._fail(name, error)
            else:
                loaded[name] = contestant
        return loaded

    def compare(
        self, contestants: Mapping[str, Contestant], do: str, generated: int, **arguments: object
    ) -> list[Round]:
        """Rounds of one and the same measurement, after a short one to warm up."""
        for name, contestant in contestants.items():
            try:
                contestant.ask(do, generated=WARM_UP, **arguments)
            except ContestantError as error:
                self._fail(name, error)
        return self.rounds(
            {
                name: partial(contestant.ask, do, generated=generated, **arguments)
                for name, contestant in contestants.items()
            }
        )

    def rounds(self, turns: Mapping[str, Turn]) -> list[Round]:
        """Each turn once in each round; who fails is noted and has no more. At least one round, whatever the time."""
        done: list[Round] = []
        for _ in range(self.options.rounds):
            if done and self.options.deadline is not None and time.monotonic() > self.options.deadline:
                break
            done.append(self._round({name: turn for name, turn in turns.items() if name not in self.absent}))
        return done

    def _round(self, turns: Mapping[str, Turn]) -> Round:
        results: Round = {}
        for name, turn in turns.items():
            time.sleep(PAUSE)
            before = self._limits.ask("limits")
            try:
                measures = turn()
            except ContestantError as error:
                self._fail(name, error)
                continue
            after = self._limits.ask("limits")
            results[name] = {**measures, **{limit: (before[limit] + after[limit]) / 2 for limit in before}}
            print(f"  {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in results[name].items()), flush=True)
        return results

    def result(self, scenario: str, model: Path, rounds: list[Round]) -> Result:
        """All of it, to be kept."""
        return Result(
            scenario, model.stem, Machine.here(self.options.team), self.facts, self.absent, rounds,
            file_bytes=model.stat().st_size,
        )  # fmt: skip

    def _fail(self, name: str, error: ContestantError) -> None:
        if name == "puna":
            raise error
        self.absent[name] = str(error)
        print(f"  {name} does not take part: {error}", flush=True)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for contestant in self._open:
            contestant.close()
