"""What this machine was measured to reach, kept in the cache. `puna bench --calibrate` measures; knows no kernel."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from puna import hardware, paths
from puna.planner.rates import Rate, Rates

VERSION = 2

# Shares of this machine's own limits that our kernels reach, where it was not calibrated: (reading, dot products).
USUAL_SHARES = (0.80, 0.55)
USUAL_FLOAT_SHARE = 0.12  # of the integer peak: float weights, and attention
USUAL_LAYER_SECONDS = 15e-6
FLOATS_BESIDE_INTEGERS = 0.25  # peaks of float32 multiply-adds beside 8-bit ones: a fourth of the numbers in a register


@dataclass(frozen=True, slots=True)
class Calibration:
    """Rates in bytes and operations a second."""

    processor: str
    isa: str
    threads: int
    measured: float  # Unix seconds
    read: float  # of memory, at most
    dot: float  # 8-bit operations, at most
    layouts: Mapping[str, Rate]  # by layout; empty: only the limits were measured
    kv_read: float
    attention: float
    layer_seconds: float
    activation_seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether the kernels were measured, or the machine's limits alone."""
        return bool(self.layouts)

    def rates(self, *, now: Limits | None = None) -> Rates:
        """As `roofline` takes them. now: the limits in this minute, by which all are scaled."""
        reading = now.read / self.read if now else 1.0
        computing = now.dot / self.dot if now else 1.0
        scaled = {name: Rate(rate.read * reading, rate.compute * computing) for name, rate in self.layouts.items()}
        quantized = [rate for name, rate in scaled.items() if name not in FLOAT_LAYOUTS]
        floats = [rate for name, rate in scaled.items() if name in FLOAT_LAYOUTS]
        read = self.read * reading
        return Rates(
            name="this machine",
            engine="puna",
            memory=hardware.memory().available,
            bandwidth=read,
            peak=self.dot * computing,
            float_peak=self.dot * computing * FLOATS_BESIDE_INTEGERS,
            by_layout=scaled,
            quantized=_median(quantized) or Rate(USUAL_SHARES[0] * read, USUAL_SHARES[1] * self.dot * computing),
            floats=_median(floats) or Rate(USUAL_SHARES[0] * read, USUAL_FLOAT_SHARE * self.dot * computing),
            kv_read=self.kv_read * reading,
            attention=self.attention * computing,
            layer_seconds=self.layer_seconds,
            activation_seconds=self.activation_seconds / computing,
            threads=self.threads,
        )


FLOAT_LAYOUTS = ("f16", "bf16", "f32")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a machine can do at most: bytes read and 8-bit operations, a second."""

    read: float
    dot: float


def of_limits(limits: Limits, *, processor: str, threads: int) -> Calibration:
    """What may be supposed where only the limits are known."""
    return Calibration(
        processor, str(hardware.isa()), threads, time.time(), limits.read, limits.dot, {},
        kv_read=USUAL_SHARES[0] * limits.read, attention=USUAL_FLOAT_SHARE * limits.dot,
        layer_seconds=USUAL_LAYER_SECONDS,
    )  # fmt: skip


def load(threads: int) -> Calibration | None:
    """The calibration of this processor with so many threads; None where there is none."""
    try:
        found = json.loads(_file(threads).read_text(encoding="utf-8"))
        if found.pop("version") != VERSION:
            return None
        layouts = {name: Rate(**rate) for name, rate in found.pop("layouts").items()}
        return Calibration(**found, layouts=layouts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, or another version's
        return None


def save(calibration: Calibration) -> Path:
    """Keep it for `load`; gives the file."""
    path = _file(calibration.threads)
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"version": VERSION, **dataclasses.asdict(calibration)}
    partial = path.with_suffix(f".{time.time_ns()}")
    partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def _median(rates: list[Rate]) -> Rate | None:
    if not rates:
        return None
    return Rate(median(rate.read for rate in rates), median(rate.compute for rate in rates))


def _file(threads: int) -> Path:
    return paths.cache_dir() / "planner" / f"{hardware.isa()}-{threads}.json"
