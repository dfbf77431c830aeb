"""`puna plan --plot FILE`: rooflines with models on them, and memory against context. Needs the extra `plot`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from puna.errors import InvalidRequest
from puna.planner.anatomy import Anatomy
from puna.planner.memory import Load
from puna.planner.plan import PROMPT, memory_on
from puna.planner.rates import Rates
from puna.planner.roofline import predict

Model = tuple[str, Anatomy]

KINDS = (".png", ".svg", ".pdf")
POINTS = 64
MARKS = "osD^vP*X"
COLORS = [f"C{number}" for number in range(10)]
CLOSE = 1.25  # two amounts of memory whose names would cover each other


def draw(target: Path, models: Sequence[Model], machines: Sequence[Rates]) -> None:
    """Write the picture.

    Raises:
        InvalidRequest: matplotlib is not there, or cannot write such a file.
    """
    if target.suffix.lower() not in KINDS:
        raise InvalidRequest(f"--plot {target}: its name must end in {', '.join(KINDS)}")
    try:
        import matplotlib.figure
    except ImportError:
        raise InvalidRequest("--plot needs matplotlib: pip install 'puna[plot]'") from None
    figure = matplotlib.figure.Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _rooflines(left, models, machines)
    _memory(right, models, machines)
    try:
        figure.savefig(target)
    except OSError as error:
        raise InvalidRequest(f"--plot {target}: {error}") from None


def _rooflines(axes: Any, models: Sequence[Model], machines: Sequence[Rates]) -> None:
    """Attainable operations a second by intensity; each model's decoding, by its mark, on each machine's roof."""
    intensity = np.logspace(-1, 4, POINTS)
    roofs = []
    for machine in machines:
        roof = np.minimum(machine.peak, machine.bandwidth * intensity) / 1e9
        roofs += axes.plot(intensity, roof, label=machine.name)
    for (name, anatomy), mark in zip(models, cycle(MARKS)):
        axes.plot([], [], mark, color="black", label=name)
        for machine, roof in zip(machines, roofs, strict=True):
            speed = predict(anatomy, machine, prompt=PROMPT, context=PROMPT + 1, sequences=1, kv_type="f16")
            reached = speed.decode * 2 * anatomy.active_parameters / 1e9
            axes.plot(speed.intensity, reached, mark, color=roof.get_color())
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="gigaoperations a second", title="Roofline")
    axes.legend()


def _memory(axes: Any, models: Sequence[Model], machines: Sequence[Rates]) -> None:
    """Bytes by context, in two types of KV cache; and what each machine has."""
    for (name, anatomy), color in zip(models, cycle(COLORS)):
        contexts = np.unique(np.geomspace(256, max(512, anatomy.context_length), POINTS).astype(int))
        for kv_type, style in (("f16", "-"), ("q8_0", "--")):
            loads = [Load(int(context), kv_type=kv_type) for context in contexts]
            totals = [memory_on(machines[0], anatomy, load).total / 1e9 for load in loads]
            axes.plot(contexts, totals, style, color=color, label=f"{name}, {kv_type}")
    axes.set(xscale="log", yscale="log", xlabel="tokens of context", ylabel="GB", title=f"Memory on {machines[0].name}")
    axes.legend(loc="upper left")
    for names, memory in _alike(machines):
        axes.axhline(memory / 1e9, color="gray", linewidth=0.8)
        axes.annotate(names, (0.99, memory / 1e9), xycoords=("axes fraction", "data"), ha="right", va="bottom")


def _alike(machines: Sequence[Rates]) -> list[tuple[str, int]]:
    """Machines whose memory is so nearly the same that their names would cover each other, under one line."""
    groups: list[tuple[str, int]] = []
    for machine in sorted(machines, key=lambda each: each.memory):
        if groups and machine.memory < CLOSE * groups[-1][1]:
            groups[-1] = (f"{groups[-1][0]}, {machine.name}", groups[-1][1])
        else:
            groups.append((machine.name, machine.memory))
    return groups
