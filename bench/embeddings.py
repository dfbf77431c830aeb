"""`python -m bench embeddings`: texts to vectors a second, beside ONNX Runtime on the same model and threads.

All-MiniLM-L6-v2 from the extra `minilm` unless another folder is given; each text has 128 tokens, tokenising is not
counted. Puna in F32 and, quantised here, in Q8_0 and Q4_0; ONNX Runtime in float32, with its operators fused, and in
dynamic int8, whichever batch it is quickest with. In each round every contestant takes its turn; ratios are of medians.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.process import ROOT, Contestant, ContestantError
from bench.results import Machine, Result, Round
from puna import hardware
from puna.conversion.importing import open_import
from puna.conversion.mixes import MIXES
from puna.conversion.quantizing import quantize_model
from puna.store import minilm

TOKENS = 128  # of a text, the first and last of BERT's own included
OURS, THEIRS = ("F32", "Q8_0", "Q4_0"), ("f32", "fused", "int8")


def run(texts: int, threads: int, rounds: int, onnx_python: str, folder: Path | None) -> Result:
    """Measure; prints what it finds.

    onnx_python: of an environment with torch, transformers, onnx and onnxruntime.

    Raises:
        ContestantError: the model, or ONNX Runtime, is not there.
    """
    source = folder or minilm.folder()
    if source is None:
        raise ContestantError(f"give a --model folder, or install {minilm.PACKAGE}")
    threads = threads or hardware.threads()
    random = np.random.default_rng(1)
    ids = [[101, *random.integers(2000, 20000, TOKENS - 2).tolist(), 102] for _ in range(texts)]
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        contestants = {
            f"puna {kind}": ("puna_embedder", path) for kind, path in _quantised(source, Path(place)).items()
        }
        contestants |= {f"onnx {kind}": ("onnx_runtime", path) for kind, path in _exported(source, place, onnx_python)}
        running, facts = {}, {}
        for name, (module, path) in contestants.items():
            python = onnx_python if module == "onnx_runtime" else sys.executable
            running[name] = stack.enter_context(Contestant(module, python=python))
            facts[name] = running[name].ask("load", path=str(path), threads=threads)
            running[name].ask("embed", texts=ids[:16])  # nobody's first time counts
        timed = [_round(running, ids) for _ in range(rounds)]
        size = (Path(place) / "Q8_0.gguf").stat().st_size
    result = Result("embeddings", source.parent.name, Machine.here(threads), facts, {}, timed, size)
    _print(result, list(running))
    return result


def _quantised(source: Path, place: Path) -> dict[str, Path]:
    found = {"F32": source}
    for kind in OURS[1:]:
        found[kind] = place / f"{kind}.gguf"
        with open_import(source) as opened:
            quantize_model(opened.file, found[kind], MIXES[kind])
    return found


def _exported(source: Path, place: str, python: str) -> list[tuple[str, Path]]:
    command = [python, "-m", "bench.contestants.onnx_models", str(source), place]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ContestantError(f"onnx_models: {(ran.stderr.strip().splitlines() or ['it failed'])[-1]}")
    return [(kind, Path(place) / f"{kind}.onnx") for kind in THEIRS]


def _round(running: dict[str, Contestant], ids: list[list[int]]) -> Round:
    turns, truth = {}, None
    for name, contestant in running.items():
        made = contestant.ask("embed", texts=ids)
        vector = np.array(made["vector"])
        truth = vector if truth is None else truth
        turns[name] = {"rate": len(ids) / made["seconds"], "cosine": float(vector @ truth)}
    return turns


def _print(result: Result, names: list[str]) -> None:
    best = max((name for name in names if name.startswith("onnx")), key=lambda name: result.median(name, "rate") or 0)
    for name in names:
        rate, cosine = result.median(name, "rate") or 0, result.median(name, "cosine") or 0
        ratios = (result.ratio((name, "rate"), (other, "rate")) or 0 for other in ("onnx f32", best))
        shown = " and ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:10s} {rate:7.1f} texts/s, {shown} of onnx f32's and {best}'s; cosine to F32 {cosine:.5f}")
