"""What a scenario measured, with all that is needed to judge it; kept as one small JSON file each."""

from __future__ import annotations

import datetime
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import psutil

FOLDER = Path(__file__).parent / "results"

Measures = dict[str, float]
Round = dict[str, Measures]  # by contestant; with `read` and `dot`, the machine's limits around its turn


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran."""

    processor: str
    memory_bytes: int
    system: str
    threads: int  # that each contestant computed with

    @classmethod
    def here(cls, threads: int) -> Machine:
        """This one."""
        return cls(_processor(), psutil.virtual_memory().total, platform.system(), threads)


@dataclass(frozen=True, slots=True)
class Result:
    """One scenario on one model file."""

    scenario: str
    model: str  # the file's name without its ending
    machine: Machine
    facts: dict[str, dict[str, Any]]  # what each contestant said of itself
    absent: dict[str, str]  # who could not take part, and why
    rounds: list[Round]
    file_bytes: int = 0
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())

    def values(self, contestant: str, measure: str) -> list[float]:
        """One for each round; none if it was not measured."""
        return [turns[contestant][measure] for turns in self.rounds if measure in turns.get(contestant, {})]

    def median(self, contestant: str, measure: str) -> float | None:
        """Over the rounds; None if it was not measured."""
        values = self.values(contestant, measure)
        return median(values) if values else None

    def ratio(self, ours: tuple[str, str], theirs: tuple[str, str]) -> float | None:
        """The median of each round's own ratio: the machine may change from round to round."""
        pairs = zip(self.values(*ours), self.values(*theirs), strict=False)
        ratios = [a / b for a, b in pairs]
        return median(ratios) if ratios else None

    def save(self, folder: Path = FOLDER) -> Path:
        """Write SCENARIO-MODEL.json."""
        folder.mkdir(exist_ok=True)
        path = folder / f"{self.scenario}-{self.model}.json"
        path.write_text(json.dumps(_rounded(asdict(self)), indent=1) + "\n", encoding="utf-8")
        return path


def load(path: Path) -> Result:
    """Read what `save` wrote."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    return Result(**{**fields, "machine": Machine(**fields["machine"])})


def load_all(folder: Path = FOLDER) -> list[Result]:
    """All results there are, by name."""
    return [load(path) for path in sorted(folder.glob("*.json"))]


def _rounded(value: Any) -> Any:
    """Floats to six digits: more were not measured."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _processor() -> str:
    """The processor's name, as Linux says it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
