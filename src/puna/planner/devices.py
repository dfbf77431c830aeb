"""Named devices: their published figures, each with its mark and source, from devices.toml. Knows no model."""

from __future__ import annotations

import difflib
import importlib.resources
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from puna.errors import InvalidRequest
from puna.planner.rates import Rate, Rates

USUAL_CLOCK = 1.5  # GHz, of accelerators
MARKS = {"V": "vendor", "D": "derived", "M": "measured", "S": "secondary", "R": "recalled, not verified"}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number and where it comes from."""

    value: float
    mark: str  # of MARKS


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """What share of their limits inference reaches on devices of a kind."""

    name: str
    engine: Literal["puna", "other"]
    memory: float  # share of a device's memory that a model may have
    read: float  # share of the bandwidth
    layer_kilocycles: float  # of the clock, of each layer in each step
    quantized: tuple[str, float]  # of which peak what share: matrices of quantised weights
    floats: tuple[str, float]  # the same of float weights


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the table."""

    name: str
    device_class: DeviceClass
    memory: Figure  # GB
    bandwidth: Figure  # GB/s
    clock: Figure | None  # GHz
    fp32: Figure | None  # GFLOPS
    fp16: Figure | None
    int8: Figure | None
    power: Figure  # W
    source: str
    note: str

    @property
    def hertz(self) -> float:
        """Its clock; where the maker does not publish it, that of most of its kind."""
        return (self.clock.value if self.clock else USUAL_CLOCK) * 1e9

    def peak(self, kind: str) -> float:
        """Operations a second of fp32, fp16 or int8; where it has no such units, what it does in their place."""
        own: Figure | None = getattr(self, kind)
        if own is not None:
            return own.value * 1e9
        other = self.fp32 or self.fp16
        assert other is not None, "a test holds the table"
        return other.value * 1e9

    def rates(self) -> Rates:
        """What inference reaches on it."""
        c = self.device_class
        read = c.read * self.bandwidth.value * 1e9
        floats = Rate(read, self._reached(c.floats))
        return Rates(
            name=self.name,
            engine=c.engine,
            memory=int(c.memory * self.memory.value * 1e9),
            bandwidth=self.bandwidth.value * 1e9,
            peak=self.peak(c.quantized[0]),
            float_peak=self.peak("fp16" if self.fp16 else "fp32"),
            by_layout={},
            quantized=Rate(read, self._reached(c.quantized)),
            floats=floats,
            kv_read=read,
            attention=floats.compute,
            layer_seconds=c.layer_kilocycles * 1e3 / self.hertz,
            power=self.power.value,
        )

    def _reached(self, share: tuple[str, float]) -> float:
        kind, of = share
        if getattr(self, kind) is None:  # no such units: what floats reach
            kind, of = "fp32", self.device_class.floats[1]
        return self.peak(kind) * of


@cache
def devices() -> Mapping[str, Device]:
    """All devices, by name."""
    text = importlib.resources.files("puna.planner").joinpath("devices.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    classes = {name: _class(name, entry) for name, entry in table["class"].items()}
    return {entry["name"]: _device(entry, classes) for entry in table["device"]}


def device_named(text: str) -> Device:
    """The device that is meant: its name in any case, with or without blanks and signs; or the only one that has it
    in its name.

    Raises:
        InvalidRequest: there is none, or several; the message names the nearest.
    """
    known = {_plain(name): device for name, device in devices().items()}
    wanted = _plain(text)
    if wanted in known:
        return known[wanted]
    having = sorted((device.name for key, device in known.items() if wanted and wanted in key), key=len)
    if having and all(name.startswith(having[0]) for name in having):
        return devices()[having[0]]  # of a chip and its graphics the chip
    close = having or [known[key].name for key in difflib.get_close_matches(wanted, known, n=4, cutoff=0.5)]
    hint = f"did you mean {', '.join(close[:6])}?" if close else "`puna plan --devices` lists them"
    raise InvalidRequest(f"no device is called {text!r:.60}: {hint}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", name.lower())


def _class(name: str, entry: Mapping[str, Any]) -> DeviceClass:
    quantized, floats = ((str(entry[kind][0]), float(entry[kind][1])) for kind in ("quantized", "floats"))
    return DeviceClass(
        name, entry["engine"], entry["memory"], entry["read"], entry["layer_kilocycles"], quantized, floats
    )


def _device(entry: Mapping[str, Any], classes: Mapping[str, DeviceClass]) -> Device:
    def figure(key: str) -> Figure | None:
        return Figure(float(entry[key][0]), str(entry[key][1])) if key in entry else None

    memory, bandwidth, power = figure("memory"), figure("bandwidth"), figure("power")
    assert memory is not None
    assert bandwidth is not None
    assert power is not None
    return Device(
        entry["name"], classes[entry["class"]], memory, bandwidth, figure("clock"), figure("fp32"), figure("fp16"),
        figure("int8"), power, entry["source"], entry.get("note", ""),
    )  # fmt: skip
