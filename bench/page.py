"""docs/performance.md from the results: the machine and its limits, the table, who was absent, the commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from bench.figures import Figure, Group, groups
from bench.outside import section
from bench.results import Result

HEAD = """\
# Performance

Puna beside other engines, on the same model files, on one machine. This page is written by `python -m bench write` from
[bench/results](../bench/results); [each row has a command](#commands) that measures it anew.

![How many times the other's speed Puna reaches](performance.svg)
"""

METHOD = """\
## How it was measured

Each engine runs in a process of its own. In a round each has its turn, one after another, never two at once; ratios are
medians of the rounds' own ratios, for the machine changes from minute to minute. Before and after each turn the
machine's limits are measured with the kernels' own instructions: a share of a limit is one of that very minute. Decode
counts the weights that a token reads, prefill the operations of the layers' matrices.

Speed is the forward pass alone, driven token by token, with no sampling and no text (xllamacpp, OpenVINO GenAI and
ik_llama.cpp by their own timings, the first two with a greedy choice). llama.cpp repacks its weights at load and
chooses flash attention itself, which is the better of the two here. Models have random weights in real models' shapes
and repeat a passage when they are asked to; speed does not depend on weights. All layers of a file are of one type,
but Q4_K_M, which mixes Q4_K and Q6_K as llama-quantize does.
"""

COMMANDS = """\
## Commands

From the repository's root, with models in a folder of your choice. A peer that is in another virtual environment is
found by its Python: `--llama-python`, `--xllamacpp-python`, `--openvino-python`; ik_llama.cpp by its program:
`--ik-bench`.

```
pip install '.[test]' llama-cpp-python openvino-genai
python -m bench all MODELS           # makes the models, measures all, writes this page
python -m bench make MODELS          # one after another:
{commands}
python -m bench write                # this page, from what was measured last
```
"""


def page(results: Sequence[Result], outside: Sequence[Result] = ()) -> str:
    """The whole page. outside: what was measured of no engine."""
    by_name = {(result.scenario, result.model): result for result in results}
    parts = [HEAD, _machine(results), *(_section(group, by_name) for group in groups())]
    parts += [section(outside), _absent(results), METHOD, COMMANDS.format(commands="\n".join(_commands()))]
    return "\n".join(part for part in parts if part)


def _machine(results: Sequence[Result]) -> str:
    lines = ["## Machine and limits", ""]
    for machine in dict.fromkeys(result.machine for result in results):
        own = [result for result in results if result.machine == machine]
        dates = sorted({result.date for result in own})
        lines += [
            f"{machine.processor}, {machine.threads} threads, {machine.memory_bytes / 2**30:.0f} GiB, "
            f"{machine.system}; measured {dates[0]}" + (f" to {dates[-1]}." if len(dates) > 1 else "."),
            "",
            "| limit | median | least | most |",
            "|---|---|---|---|",
            _limit("reading memory, GB/s", own, "read"),
            _limit("8-bit dot products, GOPS", own, "dot"),
            "",
        ]
    versions = dict.fromkeys(str(facts["version"]) for r in results for facts in r.facts.values() if "version" in facts)
    return "\n".join([*lines, f"Versions: {', '.join(versions)}.", ""])


def _limit(name: str, results: Sequence[Result], measure: str) -> str:
    values = [turn[measure] for r in results for turns in r.rounds for turn in turns.values() if measure in turn]
    return f"| {name} | {median(values):.1f} | {min(values):.1f} | {max(values):.1f} |"


def _section(group: Group, results: dict[tuple[str, str], Result]) -> str:
    rows = [_row(figure, results.get((figure.scenario, figure.model))) for figure in group.figures]
    if not any(rows):
        return ""
    head = [
        f"## {group.title}",
        "",
        f"| | model | Puna | {group.theirs} | ratio | goal | of the limit |",
        "|---|---|" + "---:|" * 5,
    ]
    return "\n".join([*head, *filter(None, rows), ""])


def _row(figure: Figure, result: Result | None) -> str:
    ratio = figure.ratio(result) if result else None
    if result is None or ratio is None:
        return ""
    reached = figure.reached(result)
    ours, theirs = (_amount(result.median(*measured), figure.unit) for measured in (figure.ours, figure.theirs))
    mark = "**" if reached else ""
    share = figure.limit_share(result)
    cells = [
        figure.what, figure.model, ours, theirs, f"{mark}{_ratio(ratio, figure)}{mark}",
        _ratio(figure.goal, figure) if figure.goal is not None else "", "" if share is None else f"{share:.0%}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _ratio(value: float, figure: Figure) -> str:
    return f"{value:.2f}x" if figure.kind == "times" else f"{value:.1%}"


def _amount(value: float | None, unit: str) -> str:
    assert value is not None, "there is a ratio"
    match unit:
        case "B":
            return f"{value / 1e9:.2f} GB"
        case "s":
            return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.3g} ms"
        case "GOPS":
            return f"{value:.0f} GOPS"
    return f"{value:.1f} tok/s"


def _absent(results: Sequence[Result]) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in results:
        for name, reason in result.absent.items():
            reasons.setdefault((name, reason), []).append(f"{result.scenario} of {result.model}")
    if not reasons:
        return ""
    lines = [f"- {name}, in {', '.join(where)}: {reason}" for (name, reason), where in reasons.items()]
    return "\n".join(["## Who did not take part", "", *lines, ""])


def _commands() -> Iterator[str]:
    """One for each result that the table draws on."""
    seen = dict.fromkeys((figure.scenario, figure.model) for group in groups() for figure in group.figures)
    for scenario, model in seen:
        yield f"python -m bench {scenario} MODELS/{model}.gguf"
