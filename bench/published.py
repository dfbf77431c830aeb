"""Published speeds beside predicted ones; and the constants of devices.toml, fitted on every other row of each class.

`python -m bench published` prints both.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from bench.make_model import Shape, tensors
from puna.gguf import GGMLType, Tensor, Value
from puna.gguf.mapped import MappedModel
from puna.planner.anatomy import Anatomy
from puna.planner.devices import Device, DeviceClass, device_named
from puna.planner.memory import requantised
from puna.planner.roofline import decode_step, prefill_steps

ROWS = Path(__file__).parent / "published.toml"
PROMPT = 512
DEPTH = 64  # positions before the middle one of 128 decoded tokens

SHAPES = {
    "llama-2-7b": Shape("llama", 32, 4096, 11008, 32, 32, 32000),
    "llama-3-8b": Shape("llama", 32, 4096, 14336, 32, 8, 128256),
    "llama-3-70b": Shape("llama", 80, 8192, 28672, 64, 8, 128256),
    "llama-3.2-3b": Shape("llama", 28, 3072, 8192, 24, 8, 128256),
    "qwen2.5-7b": Shape("llama", 28, 3584, 18944, 28, 4, 152064),
    "qwen2.5-14b": Shape("llama", 48, 5120, 13824, 40, 8, 152064),
}
TIED = ("llama-3.2-3b",)

# Where the search for a class's constants looks: shares of the bandwidth, thousands of cycles of a layer.
READ = np.arange(0.20, 1.0, 0.01)
LAYER_KILOCYCLES = np.arange(0, 400, 5)
ROUNDS = 4
SEED = 1
HALVES = 100


@dataclass(frozen=True, slots=True)
class Row:
    """One published measurement."""

    device: str
    model: str
    decode: float
    prefill: float | None
    depth: int
    source: str
    fitted: bool  # whether constants were fitted on it


@dataclass(frozen=True, slots=True)
class Beside:
    """A row's predictions."""

    row: Row
    decode: float
    prefill: float

    @property
    def errors(self) -> dict[str, float]:
        """Predicted / measured - 1."""
        own = {"decode": self.decode / self.row.decode - 1}
        return own | ({"prefill": self.prefill / self.row.prefill - 1} if self.row.prefill else {})


def rows() -> list[Row]:
    """All of them."""
    table = tomllib.loads(ROWS.read_text(encoding="utf-8"))["row"]
    seen: dict[str, int] = {}
    found = []
    for entry in table:
        kind = device_named(entry["device"]).device_class.name
        seen[kind] = seen.get(kind, 0) + 1
        found.append(Row(entry["device"], entry["model"], entry["decode"], entry.get("prefill"),
                         entry.get("depth", DEPTH), entry["source"], fitted=seen[kind] % 2 == 1))  # fmt: skip
    return found


@cache
def model(name: str) -> Anatomy:
    """The model that a row names: `llama-2-7b Q4_0`."""
    shape_name, kind = name.split()
    shape = SHAPES[shape_name]
    dims = tensors(shape)
    if shape_name in TIED:
        del dims["output.weight"]
    a = shape.architecture
    metadata: dict[str, Value] = {
        "general.architecture": a, "general.name": name, f"{a}.context_length": 8192,
        f"{a}.embedding_length": shape.width, f"{a}.block_count": shape.layers,
        f"{a}.feed_forward_length": shape.hidden, f"{a}.attention.head_count": shape.heads,
        f"{a}.attention.head_count_kv": shape.kv_heads,
    }  # fmt: skip
    made = {name: Tensor(name, size, GGMLType.F32, _no_bytes) for name, size in dims.items()}
    return requantised(MappedModel(Path(f"{shape_name}.gguf"), metadata, made, []), kind)


def _no_bytes(_first: int, _last: int) -> NDArray[np.uint8]:
    raise AssertionError("no weights are read")


def beside(row: Row, device: Device | None = None) -> Beside:
    """The row's predictions, with the table's constants or those of another class."""
    rates = (device or device_named(row.device)).rates()
    anatomy = model(row.model)
    step = decode_step(anatomy, rates, row.depth, 1, "f16")
    return Beside(row, 1 / step.seconds, PROMPT / sum(each.seconds for each in prefill_steps(anatomy, rates, PROMPT)))


def fit(on: Iterable[Row] | None = None) -> list[DeviceClass]:
    """Each class with the constants that are best on its fitted rows, or on others: reading first, then computing."""
    by_class: dict[str, list[Row]] = {}
    for row in on if on is not None else (row for row in rows() if row.fitted):
        by_class.setdefault(_class_of(row).name, []).append(row)
    return [_fitted(tuple(own)) for own in by_class.values()]


def _class_of(row: Row) -> DeviceClass:
    return device_named(row.device).device_class


@cache
def _fitted(own: tuple[Row, ...]) -> DeviceClass:
    kind = _fit_reading(_class_of(own[0]), own)
    for _ in range(ROUNDS):
        kind = _fit_computing(kind, own)
    return kind


def _fit_reading(kind: DeviceClass, own: Sequence[Row]) -> DeviceClass:
    """The share of the bandwidth, and a layer's cycles, by least squares of relative errors. The cycles stay what they
    are where one model was measured, which cannot tell the two apart, and where the engine is ours, which can."""
    at_peak = replace(kind, read=1.0, layer_kilocycles=0.0)
    ideal = np.array([1 / beside(row, _of_class(row, at_peak)).decode for row in own])  # a token's seconds
    cycles = np.array([model(row.model).layers * 1e3 / device_named(row.device).hertz for row in own])
    measured = np.array([row.decode for row in own])
    told_apart = kind.engine == "other" and len({row.model for row in own}) > 1
    kilocycles = LAYER_KILOCYCLES if told_apart else np.array([kind.layer_kilocycles])
    seconds = ideal / READ[:, None, None] + cycles * kilocycles[:, None]
    errors = np.sum((1 / seconds / measured - 1) ** 2, axis=2)
    best = np.unravel_index(np.argmin(errors), errors.shape)
    return replace(kind, read=round(float(READ[best[0]]), 2), layer_kilocycles=float(kilocycles[best[1]]))


def _fit_computing(kind: DeviceClass, own: Sequence[Row]) -> DeviceClass:
    """Nearer to the shares of the peak; nearly proportional to the speed, so that a few rounds find them."""
    ratios: dict[bool, list[float]] = {True: [], False: []}  # by whether weights are floats
    for row in own:
        if row.prefill:
            ratios[_is_float(row)].append(row.prefill / beside(row, _of_class(row, kind)).prefill)
    return replace(kind, quantized=_scaled(kind.quantized, ratios[False]), floats=_scaled(kind.floats, ratios[True]))


def _scaled(share: tuple[str, float], ratios: Sequence[float]) -> tuple[str, float]:
    return (share[0], round(share[1] * median(ratios), 3)) if ratios else share


def _is_float(row: Row) -> bool:
    return row.model.endswith("F16")


def _of_class(row: Row, kind: DeviceClass) -> Device:
    return replace(device_named(row.device), device_class=kind)


def halves(count: int) -> list[list[float]]:
    """Errors of what was not fitted on, for so many random choices of the half of each class that was: whether another
    split would have told another story."""
    chance = random.Random(SEED)
    by_class: dict[str, list[Row]] = {}
    for row in rows():
        by_class.setdefault(_class_of(row).name, []).append(row)
    found = []
    for _ in range(count):
        errors: list[float] = []
        for own in by_class.values():
            chosen = {id(row) for row in chance.sample(own, -(-len(own) // 2))}
            (kind,) = fit(row for row in own if id(row) in chosen)
            rest = (row for row in own if id(row) not in chosen)
            errors += [abs(e) for row in rest for e in beside(row, _of_class(row, kind)).errors.values()]
        found.append(errors)
    return found


def report() -> str:
    """The fitted constants as devices.toml has them, then the table."""
    lines = []
    for kind in fit():
        (a, x), (b, y) = kind.quantized, kind.floats
        lines.append(
            f"[class.{kind.name}] read = {kind.read:.2f} layer_kilocycles = {kind.layer_kilocycles:.0f} "
            f'quantized = ["{a}", {x:.3f}] floats = ["{b}", {y:.3f}]'
        )
    return "\n".join([*lines, "", table()])


def table() -> str:
    """Markdown: every row, measured beside predicted."""
    lines = [
        "| device | model | decode, tok/s | predicted | | prefill 512, tok/s | predicted | | for |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows():
        own = beside(row)
        errors = own.errors
        prefill = f"{row.prefill:.0f} | {own.prefill:.0f} | {errors['prefill']:+.0%}" if row.prefill else " | | "
        lines.append(
            f"| {row.device} | {row.model} | {row.decode:g} | {own.decode:.4g} | {errors['decode']:+.0%} | {prefill} "
            f"| {'fit' if row.fitted else 'test'} |"
        )
    return "\n".join([*lines, "", summary()])


def summary() -> str:
    """Median and largest errors, of the rows that were fitted and of those that were not."""
    parts = []
    for fitted, name in ((True, "fitted"), (False, "tested")):
        errors = [abs(error) for row in rows() if row.fitted is fitted for error in beside(row).errors.values()]
        parts.append(f"{name} on {len(errors)} figures: median error {median(errors):.1%}, largest {max(errors):.1%}")
    others = halves(HALVES)
    medians, largest = ([of(errors) for errors in others] for of in (median, max))
    parts.append(
        f"with {HALVES} other halves, chosen at random, the median of the tested is {median(medians):.1%} in the "
        f"middle ({min(medians):.1%} to {max(medians):.1%}), the largest {median(largest):.1%}"
    )
    return "; ".join(parts) + "."
