"""The answer: whether a model fits a machine, what would make it fit, and how fast it will be.

Verdicts: `fits`; `fits with X`, where X is one change (a q8_0 KV cache, a smaller context, a smaller quantisation);
`does not fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from puna.gguf import ModelFile
from puna.planner import runs
from puna.planner.anatomy import Anatomy, anatomy_of
from puna.planner.memory import (
    Load,
    Memory,
    longest_context,
    other_memory,
    requantised,
    runner_memory,
    smaller_mixes,
)
from puna.planner.rates import Rates
from puna.planner.roofline import Speed, predict

Verdict = Literal["fits", "fits with", "does not fit"]

DEFAULT_CONTEXT = 8192  # tokens, or what the model was trained for
SHORTEST_CONTEXT = 512  # tokens below which a context is no help
PROMPT = 512  # tokens of the prompt whose speed is told


@dataclass(frozen=True, slots=True)
class Option:
    """A change with which the model fits."""

    what: Literal["kv_type", "context", "quantization"]
    value: str
    total: int  # bytes with it

    def __str__(self) -> str:
        """As people read it."""
        named = {"kv_type": "a {} KV cache", "context": "a context of {}", "quantization": "{} weights"}
        return named[self.what].format(self.value)


@dataclass(frozen=True, slots=True)
class Plan:
    """A model on a machine."""

    machine: str
    model: str
    load: Load
    memory: Memory
    room: int  # bytes that a model may have there
    verdict: Verdict
    options: tuple[Option, ...]  # where it does not fit as it is
    longest_context: int  # tokens of each sequence; 0: not even one
    speed: Speed | None  # None where it does not fit at all

    @property
    def words(self) -> str:
        """The verdict in words."""
        return f"fits with {self.options[0]}" if self.verdict == "fits with" else self.verdict


def default_load(anatomy: Anatomy, *, context: int | None, sequences: int, kv_type: str) -> Load:
    """What is planned for where nothing is said: the server's defaults."""
    return Load(min(DEFAULT_CONTEXT, anatomy.context_length) if context is None else context, sequences, kv_type)


def memory_on(rates: Rates, anatomy: Anatomy, load: Load) -> Memory:
    """What a model takes with the engine that runs there."""
    return (
        runner_memory(anatomy, load, threads=rates.threads) if rates.engine == "puna" else other_memory(anatomy, load)
    )


def plan(file: ModelFile, rates: Rates, load: Load, *, correct: bool = False) -> Plan:
    """Plan for the model of a header.

    Args:
        correct: by what earlier runs on this machine have shown.

    Raises:
        InvalidGGUF: the header makes no sense.
    """
    anatomy = anatomy_of(file)
    takes = partial(memory_on, rates)
    memory = takes(anatomy, load)
    fits = memory.total <= rates.memory
    most = max(anatomy.context_length, load.context)
    longest = longest_context(partial(takes, anatomy), load, rates.memory, most)
    options = () if fits else tuple(fitting(file, load, rates.memory, takes))
    verdict: Verdict = "fits" if fits else "fits with" if options else "does not fit"
    return Plan(
        rates.name, anatomy.name, load, memory, rates.memory, verdict, options, longest,
        _speed(file, rates, load, options, correct) if verdict != "does not fit" else None,
    )  # fmt: skip


def fitting(file: ModelFile, load: Load, room: int, takes: Callable[[Anatomy, Load], Memory]) -> Iterator[Option]:
    """What makes a model fit into `room` bytes: one change each, the mildest first."""
    anatomy = anatomy_of(file)
    if load.kv_type == "f16" and _q8_is_possible(anatomy):
        total = takes(anatomy, replace(load, kv_type="q8_0")).total
        if total <= room:
            yield Option("kv_type", "q8_0", total)
    shorter = longest_context(partial(takes, anatomy), load, room, load.context) // 256 * 256
    if shorter >= SHORTEST_CONTEXT:
        yield Option("context", str(shorter), takes(anatomy, replace(load, context=shorter)).total)
    for name, smaller in smaller_mixes(file, anatomy.file_bytes):
        total = takes(smaller, load).total
        if total <= room:
            yield Option("quantization", name, total)
            return


def _q8_is_possible(anatomy: Anatomy) -> bool:
    return all(layer.key % 32 == 0 and layer.value % 32 == 0 for layer in anatomy.attention if layer)


def _speed(file: ModelFile, rates: Rates, load: Load, options: tuple[Option, ...], correct: bool) -> Speed:
    """With the first option, where it needs one."""
    anatomy = anatomy_of(file)
    for option in options[:1]:
        match option.what:
            case "kv_type":
                load = replace(load, kv_type=option.value)
            case "context":
                load = replace(load, context=int(option.value))
            case "quantization":
                anatomy = requantised(file, option.value)
    speed = predict(
        anatomy, rates, prompt=min(PROMPT, max(1, load.context - 1)), context=load.context,
        sequences=load.sequences, kv_type=load.kv_type,
    )  # fmt: skip
    return corrected(speed, *runs.corrections(file_type(file), rates.threads)) if correct else speed


def corrected(speed: Speed, prefill: float, decode: float) -> Speed:
    """With factors that earlier runs have shown."""
    return replace(
        speed, prefill=speed.prefill * prefill, first_token=speed.first_token / prefill, decode=speed.decode * decode,
        decode_full=speed.decode_full * decode, batch=speed.batch * decode,
    )  # fmt: skip


def file_type(file: ModelFile) -> str:
    """The types of a model's weights, in one word: by them earlier runs are told apart."""
    sizes: dict[str, int] = {}
    for tensor in file.tensors.values():
        if len(tensor.shape) > 1:
            sizes[tensor.type.name] = sizes.get(tensor.type.name, 0) + tensor.elements
    return "+".join(sorted(sizes, key=lambda name: -sizes[name])[:3])
