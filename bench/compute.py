"""Writes docs/compute.md: the planner's figures, each computed here, beside what was measured and published.

`python -m bench compute`
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import planned, published, remote_plan
from puna.planner.anatomy import Anatomy
from puna.planner.devices import MARKS, Figure, device_named
from puna.planner.flops import Recompute, forward, training
from puna.planner.roofline import predict

PAGE = Path(__file__).parent.parent / "docs" / "compute.md"

HEAD = """# What a model costs: operations, memory, time

Made by `python -m bench compute`; do not edit by hand. Every figure here is computed or measured by a command.

`puna plan MODEL` answers before a download, from the model's header alone: does it fit, with what change would it fit,
how fast will it be, what does it wait for. Of a model that is elsewhere it reads a few hundred kilobytes (the
vocabulary, which is most of a header, is passed over), and downloads nothing.

```
puna plan llama3.1:8b                                     # this machine
puna plan hf.co/USER/REPO:Q4_K_M --device "RTX 4090" --device m2 --context 32768
puna plan ./model.gguf --parallel 8 --kv q8_0 --json
puna plan ./model.gguf --device h100 --train 1000000000 --recompute full --gpus 8
puna plan --devices                                       # what is known of which device, with marks
puna bench --calibrate                                    # measure this machine, for exact predictions
puna bench MODEL                                          # measured beside predicted; later predictions learn of it
```

## Operations

A token is multiplied with every weight of every matrix once: 2 operations each. Attention to T positions takes
2 T heads (key + value length) more in each layer. Backward is twice forward: a product's gradients are two products of
its size, one for its input, one for its weights. Recomputing all activations does the layers' forward pass once more:
4 times the forward pass, where nothing is recomputed 3 times.
"""

REMOTE = """
## A model elsewhere

The whole command `puna plan`, asking a registry on loopback (`python -m bench planned remote MODEL...`):
"""

COUNTED = """
Counts are exact: for fifteen tiny models of thirteen architectures (grouped and latent attention, windows, merged and
gated matrices, mixtures of experts) they equal those of torch's FlopCounterMode on transformers, forward, backward and
with every layer checkpointed (`pytest tests/planner/test_flops.py`; the counts are made by
`python -m tests.planner.make_goldens`).
"""

MEMORY = """
## Memory

Weights as the kernels hold them, the KV cache in whole blocks, the rows of a step, the process: predicted beside the
private memory of a runner whose contexts have been filled: the pages that it has written to, as those that it only
reads, of libraries and of the model's file, the system may take back (`python -m bench planned memory MODEL...`).
"""

SPEED = """
## Speed

A step takes the longer of reading its weights and computing with them, then reads the cache, and pays a little for each
layer and for each number that goes into a product or comes out. After the last layer's attention only what logits are
wanted of is computed. This machine's rates are measured with the kernels themselves (`puna bench --calibrate`), for
each layout of weights; in the table they are scaled to the machine's limits around each measurement, for a virtual
machine's change from minute to minute (`python -m bench planned speed MODEL...`).
"""

OTHERS = """
## Other devices

A token takes the bytes it reads / (share of the bandwidth), and for each layer some thousand cycles of the device's
clock: starting kernels, and waiting for the last of their threads. (A share of the bandwidth alone would depend on the
model's size, and milliseconds instead of cycles on the device.)
A prompt takes operations / (share of the peak). Devices have a class, whose three constants are fitted on every other
published row of it, from the first on, in the order of the file, and tested on the others (`python -m bench published`;
rows and sources: bench/published.toml, constants: src/puna/planner/devices.toml). Where a class has one row only, that
row is fitted and nothing tests it.
"""

MISSION = """
## Two devices

A Celeron N5095 is often given as "under 200 GFLOPS", a Dimensity 6020 as "nearly 500". The first is its graphics, 192
in FP32: its processor has no FMA and reaches 89. The second, 486, is not FP32: it is the graphics' INT8 rate, or FP16
with its lanes counted twice; in FP32 the graphics have 122 and the processor 166. In processors, which is where Puna
runs, the phone has the faster arithmetic, and the small computer, with both memory channels in use, the faster memory:
"""

AFTER = """
So the phone is sooner through a prompt, and the computer is faster in writing the answer, though there its arithmetic
keeps it from what its memory could give (`puna plan MODEL --device n5095 --device "dimensity 6020"`).
"""


def write_page() -> None:
    """Write it."""
    parts = (
        HEAD, costs(), COUNTED, MEMORY, planned.memory_table(), SPEED, planned.speed_table(), REMOTE,
        remote_plan.table(), OTHERS, published.table(), MISSION, two_devices(), AFTER,
    )  # fmt: skip
    PAGE.write_text("\n".join(part.strip("\n") + "\n" for part in parts), encoding="utf-8")
    print(PAGE)


def costs() -> str:
    """Markdown: forward, backward, recomputation of one model."""
    anatomy, sequence = published.model("llama-3-8b F16"), 8192
    once = forward(anatomy, sequence)
    rows = [("forward", once.total, 1.0)]
    rows += [
        (f"training, recomputing: {kind}", step.total, step.factor)
        for kind in ("none", "selective", "full")
        for step in [training(anatomy, sequence, recompute=_recompute(kind))]
    ]
    step = training(anatomy, sequence, lora_rank=16)
    rows.append(("training a LoRA of rank 16", step.total, step.factor))
    command = f"puna plan MODEL --train {sequence} --sequence {sequence} --recompute full"
    shares = f"attention is {once.attention / once.total:.1%}, the head {once.head / once.total:.1%}"
    lines = [
        f"Llama 3 8B, one sequence of {sequence} tokens (`{command}`):",
        "",
        "| | GFLOP a token | times forward |",
        "|---|---:|---:|",
        *(f"| {what} | {total / sequence / 1e9:.1f} | {factor:.2f} |" for what, total, factor in rows),
        "",
        f"Of the forward pass {shares}. The head is not recomputed: the layers alone come to exactly 4 times.",
    ]
    return "\n".join(lines)


def _recompute(name: str) -> Recompute:
    return "full" if name == "full" else "selective" if name == "selective" else "none"


def two_devices() -> str:
    """Markdown: the figures of the mission's devices, and what they come to."""
    names = ("Celeron N5095", "Celeron N5095 graphics", "Dimensity 6020", "Dimensity 6020 graphics")
    lines = ["| | FP32 GFLOPS | FP16 | INT8 GOPS | GB/s |", "|---|---:|---:|---:|---:|"]
    for name in names:
        device = device_named(name)
        lines.append(
            f"| {name} | {' | '.join(map(_shown, (device.fp32, device.fp16, device.int8, device.bandwidth)))} |"
        )
    marks = ", ".join(f"{mark}: {word}" for mark, word in MARKS.items())
    lines += ["", f"{marks}.", "", *_speeds(names[0::2], published.model("llama-3.2-3b Q4_0"))]
    return "\n".join(lines)


def _speeds(names: Sequence[str], anatomy: Anatomy) -> list[str]:
    lines = ["| Llama 3.2 3B in Q4_0 | prefill 512, tok/s | decode, tok/s |", "|---|---:|---:|"]
    for name in names:
        speed = predict(anatomy, device_named(name).rates(), prompt=512, context=2048, sequences=1, kv_type="f16")
        lines.append(f"| {name} | {speed.prefill:.1f} | {speed.decode:.1f} |")
    return lines


def _shown(figure: Figure | None) -> str:
    return "-" if figure is None else f"{figure.value:g} {figure.mark}"
