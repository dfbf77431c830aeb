"""The table of docs/performance.md: which measured figures stand beside which, and what was aimed at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from bench.results import Result

Measured = tuple[str, str]  # contestant and measure

INTEGER_TYPES = ("Q4_0", "Q4_K_M", "Q8_0")
SMALL = "llama-1.1b"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row: `ours` beside `theirs`, of one result.

    kind   what `goal` asks for: at least so many 'times' theirs, or at the 'least' or 'most' such a share of theirs
    unit   of both; seconds in 'times' count the other way round
    limit  what bounds ours: memory's read bandwidth or the dot products' peak
    """

    what: str
    scenario: str
    model: str
    ours: Measured
    theirs: Measured
    goal: float | None = None
    kind: Literal["times", "least", "most"] = "times"
    unit: Literal["tok/s", "GOPS", "s", "B"] = "tok/s"
    limit: Literal["read", "dot"] | None = None

    def ratio(self, result: Result) -> float | None:
        """Median over the rounds."""
        if self.kind == "times" and self.unit == "s":
            return result.ratio(self.theirs, self.ours)
        return result.ratio(self.ours, self.theirs)

    def reached(self, result: Result) -> bool | None:
        """Whether the goal is; None without one, or without a measurement."""
        ratio = self.ratio(result)
        if ratio is None or self.goal is None:
            return None
        return ratio <= self.goal if self.kind == "most" else ratio >= self.goal

    def limit_share(self, result: Result) -> float | None:
        """What share of the machine's limit in the same minute ours reached; median over the rounds."""
        contestant, facts = self.ours[0], result.facts.get(self.ours[0], {})
        rates = result.values(*self.ours)
        if self.limit is None or not rates:
            return None
        cost = facts["weight_bytes"] if self.limit == "read" else 2 * facts["layer_weights"]
        limits = result.values(contestant, self.limit)
        return median(rate * float(cost) / 1e9 / limit for rate, limit in zip(rates, limits, strict=True))


@dataclass(frozen=True, slots=True)
class Group:
    """A heading and its figures."""

    title: str
    theirs: str  # heading of the column beside Puna's
    figures: Sequence[Figure]


def groups() -> list[Group]:
    """All of the table."""
    return [
        Group("Beside llama.cpp", "llama.cpp", list(_llama_cpp())),
        Group("Beside ik_llama.cpp, with run-time repacking", "ik_llama.cpp", list(_ik_llama_cpp())),
        Group("The AVX2 path, forced, beside xllamacpp, an AVX2 build", "xllamacpp", list(_xllamacpp())),
        Group("Beside OpenVINO GenAI", "OpenVINO", list(_openvino())),
        Group("Beside itself", "beside", list(_itself())),
    ]


def _forward(model: str, peer: str, goals: tuple[float | None, float | None, float | None]) -> Iterator[Figure]:
    """Goals of decoding after a prompt, of decoding after nothing, of prefill."""
    after, empty, prefill = goals
    dot: Literal["dot"] | None = "dot" if model.endswith(INTEGER_TYPES) else None
    yield Figure("decode after 512", "speed", model, ("puna", "decode"), (peer, "decode"), after, limit="read")
    yield Figure(
        "decode at depth 0", "speed", model, ("puna", "decode_empty"), (peer, "decode_empty"), empty, limit="read"
    )
    yield Figure("prefill 512", "speed", model, ("puna", "prefill"), (peer, "prefill"), prefill, limit=dot)


def _llama_cpp() -> Iterator[Figure]:
    yield from _forward(f"{SMALL}-Q4_0", "llama.cpp", (3.0, 2.2, 3.5))
    yield from _forward(f"{SMALL}-Q4_K_M", "llama.cpp", (3.0, 2.2, 2.8))
    yield from _forward(f"{SMALL}-Q8_0", "llama.cpp", (None, None, 3.5))
    for model in (f"{SMALL}-BF16", f"{SMALL}-F16", "qwen2-0.5b-Q4_0", "llama-3b-Q4_K_M", "llama-8b-Q4_0"):
        yield from _forward(model, "llama.cpp", (None, None, None))
    for what, measure in (("prefill 512 after 7,680", "prefill"), ("decode after 8,192", "decode")):
        yield Figure(what, "long", f"{SMALL}-Q4_0", ("puna", measure), ("llama.cpp", measure), 3.0)
    for kind in ("Q4_0", "Q4_K_M"):
        batch = ("puna", "batch"), ("llama.cpp", "batch")
        yield Figure("8 clients over HTTP; llama.cpp: 8 in a batch", "clients", f"{SMALL}-{kind}", *batch, 3.0)
    seconds = ("puna", "seconds"), ("llama.cpp", "seconds")
    yield Figure("load to first token", "loading", f"{SMALL}-Q4_0", *seconds, 1.0, unit="s")


def _ik_llama_cpp() -> Iterator[Figure]:
    for kind, decode in (("Q4_0", 1.5), ("Q4_K_M", 1.5), ("Q8_0", 1.2)):
        yield from _forward(f"{SMALL}-{kind}", "ik_llama.cpp", (decode, decode, 2.0))


def _xllamacpp() -> Iterator[Figure]:
    for what, measure in (("decode after 512", "decode"), ("prefill 512", "prefill")):
        yield Figure(what, "avx2", f"{SMALL}-Q4_0", ("puna", measure), ("xllamacpp", measure), 1.2)


def _openvino() -> Iterator[Figure]:
    for kind in ("Q4_0", "Q8_0"):
        yield from _forward(f"{SMALL}-{kind}", "openvino-genai", (None, None, None))


def _itself() -> Iterator[Figure]:
    q4 = f"{SMALL}-Q4_0"
    for kind in INTEGER_TYPES:
        products = ("puna", "products"), ("puna", "dot")
        yield Figure(
            "matrix products of a prefill, beside the dot products' peak",
            "speed", f"{SMALL}-{kind}", *products, 0.5, "least", "GOPS",
        )  # fmt: skip
    yield Figure("8 clients, beside one", "clients", q4, ("puna", "batch"), ("puna", "single"), 4.0)
    first = ("puna", "first_turn")
    second, restarted = ("puna", "second_turn"), ("puna", "restarted")
    yield Figure(
        "first token of a chat's second turn, beside the first's (2,000 tokens)",
        "chat", q4, second, first, 0.05, "most", "s",
    )  # fmt: skip
    yield Figure("the same after a restart of the server", "chat", q4, restarted, first, 0.2, "most", "s")
    http, engine = ("puna", "rate"), ("engine", "rate")
    yield Figure("one stream over HTTP, beside the engine alone", "server", q4, http, engine, 0.97, "least")
    yield Figure(
        "the same, beside itself without 200 idle connections and 20 slow readers",
        "server", q4, ("crowded", "rate"), http, 0.95, "least",
    )  # fmt: skip
    yield Figure(
        "first token of a cached prompt over HTTP, beside the engine alone",
        "server", q4, ("puna", "first"), ("engine", "first"), None, "most", "s",
    )  # fmt: skip
    copying = ("puna", "speculating_rate"), ("puna", "plain_rate")
    yield Figure("repeating 300 tokens, speculating, beside without", "copying", q4, *copying, 2.0)
    memory = ("puna", "peak_bytes"), ("puna", "weight_bytes")
    yield Figure("peak memory, beside the weights", "loading", q4, *memory, 1.15, "most", "B")
    sampling = ("puna", "sample_seconds"), ("puna", "step_seconds")
    yield Figure(
        "sampling from 151,936 tokens, beside the decode step", "sampling", "qwen2-0.5b-Q4_0", *sampling, 0.02,
        "most", "s",
    )  # fmt: skip
