"""Texts to vectors through a real runner with cria."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.engine import EmbeddingEvent, EmbeddingRequest, ErrorEvent, Event
from puna.errors import ContextOverflow, InvalidRequest, PunaError
from puna.runtime import EmbedRequest, Runtime
from puna.runtime.embedding import WINDOW, EmbeddingJob, shorten

LONG = "What is Puna? " * 600
WIDTH = 256


def test_a_vector_is_the_same_whatever_is_computed_beside_it(runtime: Runtime) -> None:
    texts = tuple(f"text {index} of many" for index in range(3 * WINDOW))
    made = runtime.embed(EmbedRequest("cria", texts))
    assert made.vectors.shape == (len(texts), WIDTH)
    assert made.vectors.dtype == np.float32
    for index in (0, WINDOW, len(texts) - 1):
        assert np.array_equal(
            runtime.embed(EmbedRequest("cria", texts[index : index + 1])).vectors[0], made.vectors[index]
        )
    assert made.total_seconds >= made.load_seconds >= 0


def test_token_ids_give_what_their_text_gives(runtime: Runtime) -> None:
    ids = tuple(runtime.text_model("cria").tokenizer.encode("hello you"))
    made = runtime.embed(EmbedRequest("cria", ("hello you", ids)))
    assert np.array_equal(made.vectors[0], made.vectors[1])
    assert made.prompt_tokens == (len(ids), len(ids))


def test_a_text_that_is_cut_is_reported_and_equals_its_beginning(runtime: Runtime) -> None:
    model = runtime.text_model("cria")
    limit = model.config.context_length
    made = runtime.embed(EmbedRequest("cria", ("hello", LONG)))
    assert made.truncated == (1,)
    assert made.prompt_tokens[1] == limit
    beginning = tuple(model.tokenizer.encode(LONG)[:limit])
    assert np.array_equal(runtime.embed(EmbedRequest("cria", (beginning,))).vectors[0], made.vectors[1])


def test_a_text_that_may_not_be_cut_is_refused(runtime: Runtime) -> None:
    with pytest.raises(ContextOverflow, match="the input length exceeds the context length: input 1"):
        runtime.embed(EmbedRequest("cria", ("hello", LONG), truncate=False))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (EmbedRequest("cria", ("",)), "input 0 has no tokens"),
        (EmbedRequest("cria", ((),)), "input 0 has no tokens"),
        (EmbedRequest("cria", ("hello", (1, 99999))), "input 1 holds the token id 99999"),
        (EmbedRequest("cria", ((-1,),)), "token id -1"),
        (EmbedRequest("cria", ("hello",), dimensions=0), "dimensions is 0"),
    ],
)
def test_what_cannot_be_embedded_is_refused_with_the_reason(
    request_: EmbedRequest, reason: str, runtime: Runtime
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        runtime.embed(request_)


def test_no_texts_are_no_vectors_and_load_the_model(runtime: Runtime) -> None:
    assert runtime.embed(EmbedRequest("cria", ())).vectors.shape == (0, WIDTH)
    assert [status.model.name for status in runtime.ps()] == ["cria:latest"]


def test_a_cancelled_request_frees_its_sequences_and_its_model(runtime: Runtime) -> None:
    texts = tuple(f"{index} {LONG[:5000]}" for index in range(300))
    jobs: list[EmbeddingJob] = []

    def leave(job: EmbeddingJob) -> None:
        jobs.append(job)
        threading.Timer(0.2, job.cancel).start()

    started = time.monotonic()
    with pytest.raises(PunaError, match="cancelled"):
        runtime.embed(EmbedRequest("cria", texts), on_start=leave)
    assert len(jobs) == 1
    assert [status.open_requests for status in runtime.ps()] == [0]
    runtime.embed(EmbedRequest("cria", ("hello",)))
    assert time.monotonic() - started < 20  # the others are not computed first


def test_when_one_text_fails_the_others_are_cancelled() -> None:
    cancelled: list[str] = []

    def submit(request: EmbeddingRequest, sink: object) -> None:
        assert callable(sink)
        failed: Event = ErrorEvent(request.id, "a bad text", "InvalidLogits")
        if request.id == "b":
            sink(failed)

    job = EmbeddingJob([EmbeddingRequest(name, (1,)) for name in "abc"], submit=submit, cancel=cancelled.append)
    with pytest.raises(PunaError, match="a bad text"):
        job.vectors(4)
    assert cancelled == ["a", "c"]


@given(st.permutations(range(5)))
def test_vectors_come_in_the_order_of_the_texts_whatever_ends_first(order: list[int]) -> None:
    sinks: dict[int, object] = {}

    def submit(request: EmbeddingRequest, sink: object) -> None:
        sinks[int(request.id)] = sink
        if len(sinks) == 5:
            for index in order:
                deliver = sinks[index]
                assert callable(deliver)
                deliver(EmbeddingEvent(str(index), np.full(3, index, "<f4").tobytes()))

    job = EmbeddingJob([EmbeddingRequest(str(index), (1,)) for index in range(5)], submit=submit, cancel=lambda _: None)
    assert job.vectors(3)[:, 0].tolist() == [0, 1, 2, 3, 4]


@given(st.integers(1, 8), st.integers(0, 1000))
def test_a_shortened_vector_is_a_unit_vector_again(dimensions: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(3, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    short = shorten(vectors, dimensions)
    assert np.linalg.norm(short, axis=1) == pytest.approx(1, abs=1e-6)
    cosines = (short * vectors[:, :dimensions]).sum(axis=1) / np.linalg.norm(vectors[:, :dimensions], axis=1)
    assert cosines == pytest.approx(1, abs=1e-6)
