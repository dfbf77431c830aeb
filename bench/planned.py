"""What the planner predicts beside what is measured: memory of loaded runners, speed of the forward pass.

    python -m bench planned memory MODEL...
    python -m bench planned speed MODEL...
    python -m bench planned write          # docs/compute.md

Results are kept in bench/planned, one file for each measurement.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from bench.results import Machine, Result, load_all
from puna import hardware
from puna.cli.bench import measure
from puna.engine import FinishedEvent, RunnerProcess
from puna.engine.types import ErrorEvent, Event, GenerationRequest
from puna.gguf import open_model
from puna.models import BLOCK_SIZE, load
from puna.planner import calibration
from puna.planner.anatomy import anatomy_of
from puna.planner.measuring import LimitProbe, calibrate
from puna.planner.memory import Load, Memory, runner_memory
from puna.planner.runs import Work, predict

FOLDER = Path(__file__).parent / "planned"
SEED = 1
LOADS = (Load(1024), Load(512), Load(768, kv_type="q8_0"), Load(512, sequences=2))  # in turn
WORK = Work(prompt_tokens=512, gen_tokens=48, depth=0)
REPEAT = 3


def memory(models: Sequence[Path]) -> None:
    """Measure runners and keep the results."""
    for number, path in enumerate(models):
        with open_model(path) as file:
            most = anatomy_of(file).context_length
        wanted = LOADS[number % len(LOADS)]
        _memory_of(path, Load(min(wanted.context, most), wanted.sequences, wanted.kv_type))


def _memory_of(path: Path, wanted: Load) -> None:
    threads = hardware.threads()
    predicted, measured = predicted_memory(path, wanted, threads), private_bytes(path, wanted, threads)
    name = f"{path.stem}-{wanted.sequences}x{wanted.context}-{wanted.kv_type}"
    round_ = {"puna": {"predicted": float(predicted.total), "measured": float(measured)}}
    facts = {"puna": {"context": wanted.context, "sequences": wanted.sequences, "kv_type": wanted.kv_type}}
    print(f"{name}: predicted {predicted.total / 1e6:.1f} MB, measured {measured / 1e6:.1f} MB", flush=True)
    Result("memory", name, Machine.here(threads), facts, {}, [round_], path.stat().st_size).save(FOLDER)


def predicted_memory(path: Path, wanted: Load, threads: int) -> Memory:
    """What the planner says."""
    with open_model(path) as file:
        return runner_memory(anatomy_of(file), wanted, threads=threads)


def private_bytes(path: Path, wanted: Load, threads: int) -> int:
    """Private memory of a runner whose contexts have been filled once.

    Pages of libraries that it alone has mapped do not count: they are the disk's, and the system may take them back."""
    with RunnerProcess.start(
        path, threads=threads, context=wanted.context, max_sequences=wanted.sequences, kv_type=wanted.kv_type,
        num_blocks=wanted.sequences * -(-wanted.context // BLOCK_SIZE),
    ) as runner:  # fmt: skip
        done = threading.Semaphore(0)
        failed: list[str] = []

        def sink(event: Event) -> None:
            if isinstance(event, ErrorEvent):
                failed.append(event.message)
            if isinstance(event, FinishedEvent | ErrorEvent):
                done.release()

        rng = np.random.default_rng(SEED)
        for number in range(wanted.sequences):
            tokens = rng.integers(0, runner.loaded.vocab_size, wanted.context - 1).tolist()
            runner.submit(GenerationRequest(str(number), tuple(tokens), max_tokens=1), sink)
        for _ in range(wanted.sequences):
            done.acquire()
        if failed:
            raise RuntimeError(failed[0])
        return sum(int(mapped.private_dirty) for mapped in psutil.Process(runner.pid).memory_maps())


def speed(models: Sequence[Path], *, anew: bool) -> None:
    """Calibrate (unless that was done before), then measure each model beside its prediction.

    The machine's limits are measured around each model, and predictions scaled to them: a virtual machine's change from
    minute to minute.
    """
    threads = hardware.threads()
    known = None if anew else calibration.load(threads)
    if known is None or not known.is_whole:
        known = calibrate(threads)
        calibration.save(known)
    probe = LimitProbe(threads)
    for path in models:
        with open_model(path) as file:
            blocks = -(-WORK.length // BLOCK_SIZE)
            model = load(file, threads=threads, num_blocks=blocks)
            before = probe.limits()
            report = measure(model, WORK, REPEAT)
            after = probe.limits()
            model.close()
            now = calibration.Limits((before.read + after.read) / 2, (before.dot + after.dot) / 2)
            predicted = predict(anatomy_of(file), WORK, known.rates(now=now))
        round_ = {
            "puna": {
                "predicted_prefill": predicted.prefill, "prefill": report.prefill_tokens_per_second,
                "predicted_decode": predicted.decode, "decode": report.decode_tokens_per_second,
                "read": now.read / 1e9, "dot": now.dot / 1e9,
            }
        }  # fmt: skip
        print(path.stem, round_["puna"], flush=True)
        Result("speed", path.stem, Machine.here(threads), {}, {}, [round_], path.stat().st_size).save(FOLDER)
    probe.close()


def memory_table() -> str:
    """Markdown."""
    lines = ["| model | contexts | KV cache | predicted | measured | error |", "|---|---:|---|---:|---:|---:|"]
    for result, facts, values in results("memory"):
        error = values["predicted"] / values["measured"] - 1
        model = result.model.rsplit("-", 2)[0]
        lines.append(
            f"| {model} | {facts['sequences']} x {facts['context']} | {facts['kv_type']} | "
            f"{values['predicted'] / 1e6:.1f} MB | {values['measured'] / 1e6:.1f} MB | {error:+.1%} |"
        )
    errors = [abs(v["predicted"] / v["measured"] - 1) for _, _, v in results("memory")]
    return "\n".join([*lines, "", _errors(errors)])


def speed_table() -> str:
    """Markdown."""
    lines = [
        "| model | prefill 512, tok/s | predicted | error | decode, tok/s | predicted | error |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    errors: list[float] = []
    for result, _, v in results("speed"):
        own = [v[f"predicted_{what}"] / v[what] - 1 for what in ("prefill", "decode")]
        errors += map(abs, own)
        cells = [f"{v[what]:.1f} | {v[f'predicted_{what}']:.1f} | {error:+.1%}"
                 for what, error in zip(("prefill", "decode"), own, strict=True)]  # fmt: skip
        lines.append(f"| {result.model} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", _errors(errors)])


def _errors(errors: Sequence[float]) -> str:
    if not errors:
        return "Nothing was measured yet."
    return f"{len(errors)} figures: median error {median(errors):.1%}, largest {max(errors):.1%}."


def results(scenario: str) -> Iterator[tuple[Result, dict[str, object], dict[str, float]]]:
    for result in load_all(FOLDER):
        if result.scenario == scenario:
            yield result, result.facts.get("puna", {}), result.rounds[0]["puna"]
