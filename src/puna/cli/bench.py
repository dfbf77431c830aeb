"""`puna bench`: how fast a model runs here, beside what `puna plan` predicts. Measures `Model.forward` itself, in this
process: no server, no sampling but the likeliest token, no text. Or what the machine itself can do: --calibrate."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_size, table
from puna.errors import InvalidRequest

if TYPE_CHECKING:
    from puna.gguf import ModelFile
    from puna.models import Model
    from puna.planner.runs import Predicted, Work

SEED = 1


def bench(
    model: Annotated[
        str | None, typer.Argument(help="A name, or the path of a GGUF file or a Hugging Face folder.")
    ] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the prompt.")] = 512,
    gen_tokens: Annotated[int, typer.Option(min=1, help="Tokens decoded right after the prompt.")] = 64,
    depth: Annotated[int, typer.Option(min=0, help="Tokens in the context before the prompt (not timed).")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Measurements; the medians are printed.")] = 3,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="First measure what this machine reaches, for `puna plan`.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure prefill and decode speed, beside what was predicted."""
    from puna import hardware
    from puna.planner.runs import Work

    threads = threads or hardware.threads()
    if calibrate:
        _calibrate(threads, as_json=as_json and model is None)
    elif model is None:
        raise typer.BadParameter("name a model, or give --calibrate")
    if model is not None:
        _bench(model, Work(prompt_tokens, gen_tokens, depth), threads, repeat, as_json=as_json)


def _calibrate(threads: int, *, as_json: bool) -> None:
    from puna.cli.progress import Progress
    from puna.planner import calibration, measuring, runs

    with Progress("measuring this machine") as progress:
        found = measuring.calibrate(threads, progress.update)
    path = calibration.save(found)
    runs.forget()
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
        return
    rows = [(name, f"{rate.read / 1e9:.1f}", f"{rate.compute / 1e9:.0f}") for name, rate in found.layouts.items()]
    rows.append(("limit", f"{found.read / 1e9:.1f}", f"{found.dot / 1e9:.0f}"))
    typer.echo(table(("WEIGHTS", "DECODE GB/S", "PREFILL GOPS"), rows))
    typer.echo(f"kept in {path}", err=True)


def _bench(model: str, work: Work, threads: int, repeat: int, *, as_json: bool) -> None:
    from puna import hardware
    from puna.cli.progress import Progress
    from puna.gguf import open_model
    from puna.models import BLOCK_SIZE, load
    from puna.planner import here
    from puna.planner.anatomy import anatomy_of
    from puna.planner.runs import predict
    from puna.store import Store

    local = Store().resolve(model)
    file = open_model(local.path)
    with Progress(f"loading {model}") as progress:
        loaded = load(file, threads=threads, num_blocks=-(-work.length // BLOCK_SIZE), progress=progress.update)
    try:
        report = measure(loaded, work, repeat)
        predicted = predict(anatomy_of(file), work, here.rates(threads))
        if not work.depth:
            remember(file, predicted, report, threads)
    finally:
        loaded.close()
        file.close()
    if as_json:
        facts = {
            "model": local.name,
            "file_type": local.details.quantization_level,
            "weight_bytes": loaded.weight_bytes,
            "isa": str(hardware.isa()),
            "threads": threads,
            "repeat": repeat,
        }
        told = {f"predicted_{name}_tokens_per_second": rate for name, rate in dataclasses.asdict(predicted).items()}
        typer.echo(json.dumps({**facts, **dataclasses.asdict(work), **dataclasses.asdict(report), **told}))
    else:
        typer.echo(_sentences(report, predicted, work, loaded.weight_bytes, threads))


@dataclass(frozen=True, slots=True)
class Report:
    """Medians. Gigabytes (1e9) per second: the weights read for each decoded token; the KV cache does not count."""

    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    decode_gigabytes_per_second: float


def remember(file: ModelFile, predicted: Predicted, report: Report, threads: int) -> None:
    """Keep both, so that later predictions can be corrected."""
    from puna.planner import runs
    from puna.planner.plan import file_type

    runs.note(
        runs.Run(
            file_type(file), threads, predicted.prefill, report.prefill_tokens_per_second, predicted.decode,
            report.decode_tokens_per_second,
        )
    )  # fmt: skip


def measure(model: Model, work: Work, repeat: int) -> Report:
    """Run the work once to warm up, then `repeat` times. Raises InvalidRequest if it is longer than the context."""
    if work.length > model.config.context_length:
        raise InvalidRequest(
            f"{work.length} tokens do not fit the model's context of {model.config.context_length}: "
            "lower --prompt-tokens, --gen-tokens or --depth"
        )
    _run(model, work)
    times = [_run(model, work) for _ in range(repeat)]
    decode = work.gen_tokens / median(decode for _, decode in times)
    return Report(
        prefill_tokens_per_second=work.prompt_tokens / median(prefill for prefill, _ in times),
        decode_tokens_per_second=decode,
        decode_gigabytes_per_second=decode * model.weight_bytes / 1e9,
    )


def _run(model: Model, work: Work) -> tuple[float, float]:
    """Seconds of the prompt and of the decoding."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    tokens = rng.integers(0, model.vocab_size, work.depth + work.prompt_tokens).tolist()
    _feed(model, tokens[: work.depth], 0, work)
    start = time.perf_counter()
    token = _feed(model, tokens[work.depth :], work.depth, work)
    prefilled = time.perf_counter()
    for position in range(work.depth + work.prompt_tokens, work.length):
        token = _feed(model, [token], position, work)
    return prefilled - start, time.perf_counter() - prefilled


def _feed(model: Model, tokens: list[int], start: int, work: Work) -> int:
    """Feed the tokens from position `start` on, in steps as large as the model takes; the likeliest next token."""
    from puna.models import BLOCK_SIZE, Chunk

    blocks = range(-(-work.length // BLOCK_SIZE))
    following = 0
    for first in range(0, len(tokens), model.max_tokens):
        part = tokens[first : first + model.max_tokens]
        last = first + len(part) == len(tokens)
        logits = model.forward([Chunk(part, start + first, blocks, outputs=int(last))])
        if last:
            following = int(logits[0].argmax())
    return following


def _sentences(report: Report, predicted: Predicted, work: Work, weight_bytes: int, threads: int) -> str:
    rows = (
        (report.prefill_tokens_per_second, "tokens/s", f"prefill of {work.prompt_tokens} tokens", predicted.prefill),
        (
            report.decode_tokens_per_second, "tokens/s", f"decoding {work.gen_tokens} tokens right after them",
            predicted.decode,
        ),
        (report.decode_gigabytes_per_second, "GB/s", f"for {human_size(weight_bytes)} of weights a token", None),
    )  # fmt: skip
    lines = [
        f"{value:12.1f} {unit:<9} {what}" + (f" (predicted: {told:.1f})" if told is not None else "")
        for value, unit, what, told in rows
    ]
    return "\n".join([*lines, f"on {threads} thread{'s' if threads > 1 else ''}"])
