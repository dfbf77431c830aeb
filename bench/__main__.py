"""`python -m bench`: make models, run one scenario or all, write docs/performance.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import make_model, performance
from bench.process import ContestantError
from bench.results import Result
from bench.scenarios import SCENARIOS
from bench.session import PEERS, Options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        chosen.run(chosen)
    except ContestantError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Puna beside its peers.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, scenario in SCENARIOS.items():
        verb = verbs.add_parser(name, help=_first_line(scenario), description=scenario.__doc__)
        verb.add_argument("model", type=Path, help="a GGUF file")
        verb.set_defaults(run=lambda chosen, name=name: _scenario(name, chosen))
        _add_options(verb)
    verb = verbs.add_parser("all", help="make the models, run all scenarios, write the page")
    verb.add_argument("models", type=Path, help="the folder of the model files")
    verb.add_argument("--minutes", type=float, help="begin no more rounds after so long; default: no limit")
    verb.set_defaults(run=lambda chosen: performance.run_all(chosen.models, _options(chosen), chosen.minutes))
    _add_options(verb)
    verb = verbs.add_parser("make", help="make model files with random weights")
    verb.add_argument("models", type=Path, help="the folder to write them to")
    verb.add_argument("--shape", choices=make_model.SHAPES, help="only this one; default: all that the page needs")
    verb.add_argument("--type", choices=make_model.FILE_TYPES, default="Q4_0")
    verb.set_defaults(run=_make)
    verb = verbs.add_parser("write", help="write docs/performance.md from the last results")
    verb.set_defaults(run=lambda _: performance.write_page())
    return parser


def _add_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--threads", type=int, default=0, help="default: as many as Puna would take")
    verb.add_argument("--rounds", type=int, default=3)
    verb.add_argument("--peers", default=",".join(PEERS), help="who may take part; default: %(default)s")
    for peer in ("llama", "xllamacpp", "openvino"):
        verb.add_argument(f"--{peer}-python", default=sys.executable, metavar="PYTHON", help="a Python that has it")
    verb.add_argument("--llama-flash", choices=("auto", "on", "off"), default="auto")
    verb.add_argument("--ik-bench", metavar="PROGRAM", help="ik_llama.cpp's llama-bench")


def _options(chosen: argparse.Namespace) -> Options:
    return Options(
        threads=chosen.threads,
        rounds=chosen.rounds,
        peers=tuple(filter(None, chosen.peers.split(","))),
        llama_python=chosen.llama_python,
        llama_flash=chosen.llama_flash,
        xllamacpp_python=chosen.xllamacpp_python,
        openvino_python=chosen.openvino_python,
        ik_bench=chosen.ik_bench,
    )


def _scenario(name: str, chosen: argparse.Namespace) -> None:
    result = SCENARIOS[name](chosen.model, _options(chosen))
    print(result.save())


def _make(chosen: argparse.Namespace) -> None:
    if chosen.shape is None:
        performance.make_models(chosen.models)
        return
    path = make_model.model_path(chosen.models, chosen.shape, chosen.type)
    make_model.write(path, make_model.SHAPES[chosen.shape], chosen.type)
    print(path)


def _first_line(function: Callable[[Path, Options], Result]) -> str:
    return (function.__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
