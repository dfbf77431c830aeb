"""`puna bench`: how fast a model runs here. Measures `Model.forward` itself, in this process: no server, no sampling
but the likeliest token, no text."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_size
from puna.errors import InvalidRequest

if TYPE_CHECKING:
    from puna.models import Model

SEED = 1


def bench(
    model: Annotated[str, typer.Argument(help="A name, or the path of a GGUF file or a Hugging Face folder.")],
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the prompt.")] = 512,
    gen_tokens: Annotated[int, typer.Option(min=1, help="Tokens decoded right after the prompt.")] = 64,
    depth: Annotated[int, typer.Option(min=0, help="Tokens in the context before the prompt (not timed).")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads to compute with.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="Measurements; the medians are printed.")] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure prefill and decode speed."""
    from puna import hardware
    from puna.cli.progress import Progress
    from puna.gguf import open_model
    from puna.models import BLOCK_SIZE, load
    from puna.store import Store

    local = Store().resolve(model)
    file = open_model(local.path)
    work = Work(prompt_tokens, gen_tokens, depth)
    threads = threads or hardware.threads()
    with Progress(f"loading {model}") as progress:
        loaded = load(file, threads=threads, num_blocks=-(-work.length // BLOCK_SIZE), progress=progress.update)
    try:
        report = measure(loaded, work, repeat)
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
        typer.echo(json.dumps({**facts, **dataclasses.asdict(work), **dataclasses.asdict(report)}))
    else:
        typer.echo(_sentences(report, work, loaded.weight_bytes, threads))


@dataclass(frozen=True, slots=True)
class Work:
    """What one measurement does: `depth` tokens unmeasured, then the prompt, then one step per decoded token."""

    prompt_tokens: int
    gen_tokens: int
    depth: int

    @property
    def length(self) -> int:
        """Tokens in the context at the end."""
        return self.depth + self.prompt_tokens + self.gen_tokens


@dataclass(frozen=True, slots=True)
class Report:
    """Medians. Gigabytes (1e9) per second: the weights read for each decoded token; the KV cache does not count."""

    prefill_tokens_per_second: float
    decode_tokens_per_second: float
    decode_gigabytes_per_second: float


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


def _sentences(report: Report, work: Work, weight_bytes: int, threads: int) -> str:
    rows = (
        (report.prefill_tokens_per_second, "tokens/s", f"prefill of {work.prompt_tokens} tokens"),
        (report.decode_tokens_per_second, "tokens/s", f"decoding {work.gen_tokens} tokens right after them"),
        (report.decode_gigabytes_per_second, "GB/s", f"for {human_size(weight_bytes)} of weights a token"),
    )
    lines = [f"{value:12.1f} {unit:<9} {what}" for value, unit, what in rows]
    return "\n".join([*lines, f"on {threads} thread{'s' if threads > 1 else ''}"])
