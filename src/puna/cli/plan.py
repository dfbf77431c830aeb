"""`puna plan`: whether a model fits, how fast it will be and what it costs, before it is downloaded."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_size, table, terminal_safe
from puna.errors import InvalidRequest

if TYPE_CHECKING:
    from puna.gguf import ModelFile
    from puna.planner.anatomy import Anatomy
    from puna.planner.plan import Plan
    from puna.planner.rates import Rates
    from puna.planner.training import TrainingPlan


def plan(
    models: Annotated[
        list[str] | None, typer.Argument(help="Names, as for `puna pull`, or paths; nothing is downloaded.")
    ] = None,
    device: Annotated[
        list[str] | None, typer.Option(help="A device instead of this machine; may be given several times.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens of context. Default: the trained ones, up to 8192.")
    ] = None,
    parallel: Annotated[int, typer.Option(help="Answers at once, each with such a context.")] = 1,
    kv: Annotated[str, typer.Option(help="Type of the KV cache: f16, q8_0 or f32.")] = "f16",
    train: Annotated[int | None, typer.Option(help="Also what training on so many tokens costs.")] = None,
    sequence: Annotated[int, typer.Option(help="With --train: tokens of a sequence.")] = 2048,
    recompute: Annotated[
        str, typer.Option(help="With --train: activations computed again: none, selective, full.")
    ] = "none",
    optimizer: Annotated[str, typer.Option(help="With --train: adamw or adamw8bit.")] = "adamw",
    lora: Annotated[int | None, typer.Option(help="With --train: only a LoRA of this rank.")] = None,
    gpus: Annotated[int, typer.Option(help="With --train: how many devices share the work.")] = 1,
    plot: Annotated[
        Path | None, typer.Option(help="Draw rooflines and memory into this file (needs puna[plot]).")
    ] = None,
    devices: Annotated[bool, typer.Option("--devices", help="List the devices that are known.")] = False,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow a registry without TLS.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say whether a model fits and how fast it will be.

    From its header alone: a few hundred kilobytes of a model that is not here.
    """
    if devices:
        typer.echo(_device_table())
        return
    if not models:
        raise typer.BadParameter("name a model, or give --devices")
    question = Question(context, parallel, kv, train, sequence, recompute, optimizer, lora, gpus)
    machines = _machines(device or [])
    answers = [_answer(name, machines, question, insecure) for name in models]
    if plot is not None:
        from puna.cli.plan_picture import draw

        draw(plot, [(answer.name, answer.anatomy) for answer in answers], machines)
    if as_json:
        from puna.planner.report import document

        typer.echo(json.dumps([document(a.name, a.anatomy, a.plans, a.training) for a in answers], indent=1))
    else:
        typer.echo(terminal_safe("\n\n".join(_blocks(answers))))


@dataclass(frozen=True, slots=True)
class Question:
    """The options."""

    context: int | None
    parallel: int
    kv: str
    train: int | None
    sequence: int
    recompute: str
    optimizer: str
    lora: int | None
    gpus: int


@dataclass(frozen=True, slots=True)
class Answer:
    """One model on all machines."""

    name: str
    anatomy: Anatomy
    types: str
    plans: list[Plan]
    training: list[TrainingPlan]


def _machines(names: list[str]) -> list[Rates]:
    from puna.planner.devices import device_named

    if names:
        return [device_named(name).rates() for name in names]
    from puna import hardware
    from puna.planner import here

    return [here.rates(hardware.threads())]


def _answer(name: str, machines: list[Rates], question: Question, insecure: bool) -> Answer:
    from puna.planner.anatomy import anatomy_of
    from puna.planner.plan import default_load, file_type
    from puna.planner.plan import plan as plan_model
    from puna.store import Store
    from puna.store.headers import header

    with header(Store(), name, insecure=insecure, cancelled=threading.Event()) as file:
        anatomy = anatomy_of(file)
        load = default_load(anatomy, context=question.context, sequences=question.parallel, kv_type=question.kv)
        plans = [plan_model(file, rates, load, correct=rates.name == "this machine") for rates in machines]
        training = (
            [_train(anatomy, rates, question, question.train) for rates in machines]
            if question.train is not None
            else []
        )
        return Answer(name, anatomy, _types(file, file_type(file)), plans, training)


def _types(file: ModelFile, types: str) -> str:
    from puna.gguf.types import FILE_TYPES

    number = file.metadata.get("general.file_type")
    return FILE_TYPES.get(number, types) if isinstance(number, int) else types


def _train(anatomy: Anatomy, rates: Rates, question: Question, tokens: int) -> TrainingPlan:
    from puna.planner.training import OPTIMIZERS, RECOMPUTE, train

    recompute = next((known for known in RECOMPUTE if known == question.recompute), None)
    optimizer = next((known for known in OPTIMIZERS if known == question.optimizer), None)
    if recompute is None:
        raise InvalidRequest(f"--recompute {question.recompute!r}: it must be one of {', '.join(RECOMPUTE)}")
    if optimizer is None:
        raise InvalidRequest(f"--optimizer {question.optimizer!r}: it must be one of {', '.join(OPTIMIZERS)}")
    return train(
        anatomy, rates, tokens=tokens, sequence=question.sequence, recompute=recompute, optimizer=optimizer,
        lora_rank=question.lora, gpus=question.gpus,
    )  # fmt: skip


def _blocks(answers: list[Answer]) -> list[str]:
    """One model on one machine in sentences; a comparison as a table."""
    if len(answers) == 1 and len(answers[0].plans) == 1:
        answer = answers[0]
        return [
            _title(answer),
            _sentences(answer.plans[0], answer.anatomy.causal),
            *map(_training_sentences, answer.training),
        ]
    titles = "\n".join(map(_title, answers))
    rows = [_row(answer.name, plan, answer.anatomy.causal) for answer in answers for plan in answer.plans]
    header = ("MODEL", "MACHINE", "VERDICT", "MEMORY", "OF", "LONGEST", "PREFILL", "DECODE", "FIRST TOKEN")
    training = [
        f"{plan.machine}\n{_training_sentences(training)}"
        for answer in answers
        for plan, training in zip(answer.plans, answer.training, strict=False)
    ]
    return [titles, table(header, rows), *training]


def _title(answer: Answer) -> str:
    from puna.store.store import human_count

    a = answer.anatomy
    active = f", {human_count(a.active_parameters)} of them active" if a.experts else ""
    return (
        f"{answer.name}: {a.architecture}, {human_count(a.parameters)} parameters{active}, {answer.types}, "
        f"{human_size(a.file_bytes)}, trained for {a.context_length} tokens"
    )


def _sentences(plan: Plan, causal: bool) -> str:
    """causal: it writes; an encoder's texts have no answer, and nothing of them is kept."""
    m, s = plan.memory, plan.speed
    load = f"{plan.load.sequences} x {plan.load.context}" if plan.load.sequences > 1 else f"{plan.load.context}"
    kept = f" in {plan.load.kv_type}" if causal else ""
    parts = f"weights {human_size(m.weights)}, KV cache {human_size(m.kv_cache)}, activations "
    parts += f"{human_size(m.activations)}, the process {human_size(m.runtime)}"
    lines = [
        f"{plan.machine}: {plan.words}",
        f"  memory    {human_size(m.total)} of {human_size(plan.room)} ({parts})",
        f"  context   {load} tokens{kept}; at most {plan.longest_context} would fit",
    ]
    if plan.options:
        lines.append(f"  fits with {', or '.join(f'{o} ({human_size(o.total)})' for o in plan.options)}")
    if s is None:
        return "\n".join(lines)
    if not causal:
        return "\n".join([*lines, f"  texts     {_rate(s.prefill)} tokens/s, bound by {s.prefill_bound}"])
    power = f", at most {s.joules_per_token:.3g} J a token" if s.joules_per_token else ""
    prefill = f"  prefill   {_rate(s.prefill)} tokens/s, bound by {s.prefill_bound}"
    decode = f"  decode    {_rate(s.decode)} tokens/s, bound by {s.decode_bound}"
    lines += [
        f"{prefill}; first token of a prompt of 512 after {_seconds(s.first_token)}",
        f"{decode}; {_rate(s.decode_full)} when the context is full{power}",
    ]
    if plan.load.sequences > 1:
        lines.append(f"  together  {_rate(s.batch)} tokens/s of {plan.load.sequences} answers")
    lines.append(
        f"  roofline  {s.intensity:.3g} operations a byte; from {s.ridge:.3g} on it would compute longer than read"
    )
    return "\n".join(lines)


def _training_sentences(t: TrainingPlan) -> str:
    what = "LoRA" if t.lora_rank else "all weights"
    parts = f"forward {t.flops.forward:.3g}, backward {t.flops.backward:.3g}, recomputed {t.flops.recomputed:.3g}"
    memory = f"states {human_size(t.states)} in all, activations {human_size(t.activations)}"
    lines = (
        f"  training  {what} on {t.tokens} tokens, sequences of {t.sequence}, recomputing: {t.recompute}",
        f"            {t.flops.total:.3g} FLOPs, {t.flops.factor:.3g} times the forward pass ({parts})",
        f"            {human_size(t.memory)} on each of {t.gpus} ({memory}); {_seconds(t.seconds)} at 40% of the peak",
    )
    return "\n".join(lines)


def _row(name: str, plan: Plan, causal: bool) -> tuple[str, ...]:
    s = plan.speed
    speeds = (_rate(s.prefill), *((_rate(s.decode), _seconds(s.first_token)) if causal else "--")) if s else "---"
    memory = (human_size(plan.memory.total), human_size(plan.room), str(plan.longest_context))
    return name, plan.machine, plan.words, *memory, *speeds


def _rate(value: float) -> str:
    """Three digits: no prediction is good to more."""
    return f"{float(f'{value:.3g}'):.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    for unit, length in (("years", 31557600), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if value >= 2 * length:
            return f"{value / length:.1f} {unit}"
    return f"{value:.2g} s"


def _device_table() -> str:
    from puna.planner.devices import MARKS, devices

    def shown(figure: object) -> str:
        value, mark = getattr(figure, "value", None), getattr(figure, "mark", "")
        return "-" if value is None else f"{value:g} {mark}"

    rows = [
        (d.name, *map(shown, (d.memory, d.bandwidth, d.clock, d.fp32, d.fp16, d.int8, d.power)))
        for d in devices().values()
    ]
    header = ("DEVICE", "GB", "GB/S", "GHZ", "FP32 GFLOPS", "FP16", "INT8 GOPS", "W")
    marks = ", ".join(f"{mark} {word}" for mark, word in MARKS.items())
    return f"{table(header, rows)}\n{marks}"
