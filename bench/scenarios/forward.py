"""Prefill and decode of one sequence: the forward pass alone, driven token by token, with no sampling and no text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bench.results import Result
from bench.session import Options, Session

PROMPT, GENERATED = 512, 48
DEPTH = 7680  # so that a prompt of 512 ends at 8,192


def speed(model: Path, options: Options, *, prompt: int = PROMPT, generated: int = GENERATED) -> Result:
    """Prefill, decoding after it, decoding with nothing before it; beside every peer that is there."""
    with Session(options) as session:
        contestants = {"puna": session.start("puna"), **session.peers("llama.cpp", "ik_llama.cpp", "openvino-genai")}
        loaded = session.load(contestants, path=str(model), context=prompt + generated + 32)
        rounds = session.compare(loaded, "speed", generated, prompt=prompt)
        return session.result("speed", model, rounds)


def avx2(model: Path, options: Options, *, prompt: int = PROMPT, generated: int = GENERATED) -> Result:
    """The same on Puna's AVX2 path, forced, beside xllamacpp, whose wheel is built for AVX2."""
    with Session(options) as session:
        contestants = {"puna": session.start("puna", PUNA_ISA="avx2"), **session.peers("xllamacpp")}
        loaded = session.load(contestants, path=str(model), context=prompt + generated + 32)
        rounds = session.compare(loaded, "speed", generated, prompt=prompt)
        return session.result("avx2", model, rounds)


def long(
    model: Path, options: Options, *, prompt: int = PROMPT, generated: int = GENERATED, depth: int = DEPTH
) -> Result:
    """Prefill of the last `prompt` tokens of a long context, and decoding after them; llama.cpp with flash attention.

    What stands before them is computed once, before the rounds.
    """
    with Session(replace(options, llama_flash="on")) as session:
        contestants = {"puna": session.start("puna"), **session.peers("llama.cpp")}
        loaded = session.load(contestants, path=str(model), context=depth + prompt + generated + 32)
        rounds = session.compare(loaded, "deep", generated, prompt=prompt, depth=depth)
        return session.result("long", model, rounds)
