"""`python -m bench`: make models, run one scenario or all, write docs/performance.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import (
    compute,
    embeddings,
    make_model,
    performance,
    planned,
    published,
    pull,
    quantizing,
    remote_plan,
    vectors,
)
from bench.process import ContestantError
from bench.results import FOLDER, Result
from bench.scenarios import SCENARIOS
from bench.session import PEERS, Options

OF_STORE = FOLDER / "store"  # what is measured of no model, and not on the page
OF_ENCODERS = FOLDER / "encoders"  # not on the page either
OF_DOCUMENTS = FOLDER / "documents"


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
    verb = verbs.add_parser("pull", help="a large blob over loopback: beside curl, and killed again and again")
    verb.add_argument("--megabytes", type=int, default=1000)
    verb.add_argument("--kills", type=int, default=10)
    verb.add_argument("--rounds", type=int, default=3, help="of downloads beside curl's")
    verb.add_argument("--seed", type=int, default=1, help="of the moments at which it is killed")
    verb.add_argument("--folder", type=Path, help="where both write to; default: that of temporary files")
    verb.set_defaults(run=_pull)
    verb = verbs.add_parser("quantize", help="a matrix quantised on one core, beside numpy and ggml")
    verb.add_argument("types", nargs="*", default=quantizing.TYPES, metavar="TYPE", help="default: %(default)s")
    verb.add_argument("--rows", type=int, default=1024, help=f"of {quantizing.COLUMNS} numbers")
    verb.add_argument("--rounds", type=int, default=3)
    verb.set_defaults(run=_quantize)
    verb = verbs.add_parser("embeddings", help="texts to vectors a second, beside ONNX Runtime")
    verb.add_argument("--texts", type=int, default=1000)
    verb.add_argument("--threads", type=int, default=0, help="default: as many as Puna would take")
    verb.add_argument("--rounds", type=int, default=3)
    verb.add_argument(
        "--onnx-python", default=sys.executable, help="a Python with torch, transformers, onnx, onnxruntime"
    )
    verb.add_argument("--model", type=Path, help="a BERT's folder; default: all-MiniLM-L6-v2's, if it is installed")
    verb.set_defaults(run=_embeddings)
    verb = verbs.add_parser("planned", help="what the planner predicts beside memory and speed; what it reads afar")
    verb.add_argument("what", choices=("memory", "speed", "remote"))
    verb.add_argument("models", type=Path, nargs="+", help="GGUF files")
    verb.add_argument("--anew", action="store_true", help="measure the machine first, even if that was done before")
    verb.set_defaults(run=_planned)
    verb = verbs.add_parser("published", help="fit devices.toml to published speeds, and compare")
    verb.set_defaults(run=lambda _: print(published.report()))
    verb = verbs.add_parser("compute", help="write docs/compute.md from the planner and the last results")
    verb.set_defaults(run=lambda _: compute.write_page())
    verb = verbs.add_parser("vectors", help="a store of vectors built and searched, beside Chroma")
    verb.add_argument("--count", type=int, default=100_000)
    verb.add_argument("--queries", type=int, default=200)
    verb.add_argument("--rounds", type=int, default=3, help="of all queries, in turns")
    verb.add_argument("--chroma-python", default=sys.executable, metavar="PYTHON", help="a Python that has chromadb")
    verb.set_defaults(run=_vectors)
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


def _planned(chosen: argparse.Namespace) -> None:
    if chosen.what == "memory":
        planned.memory(chosen.models)
    elif chosen.what == "remote":
        remote_plan.run(chosen.models)
    else:
        planned.speed(chosen.models, anew=chosen.anew)


def _pull(chosen: argparse.Namespace) -> None:
    print(pull.run(chosen.megabytes, chosen.kills, chosen.rounds, chosen.seed, chosen.folder).save(OF_STORE))


def _quantize(chosen: argparse.Namespace) -> None:
    for name in chosen.types:
        print(quantizing.run(name, chosen.rows, chosen.rounds).save(OF_STORE))


def _embeddings(chosen: argparse.Namespace) -> None:
    found = embeddings.run(chosen.texts, chosen.threads, chosen.rounds, chosen.onnx_python, chosen.model)
    print(found.save(OF_ENCODERS))


def _vectors(chosen: argparse.Namespace) -> None:
    print(vectors.run(chosen.count, chosen.queries, chosen.rounds, chosen.chroma_python).save(OF_DOCUMENTS))


def _first_line(function: Callable[[Path, Options], Result]) -> str:
    return (function.__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
