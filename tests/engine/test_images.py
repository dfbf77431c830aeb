"""Prompts with images on a real tiny model: what is cached, shared, cut, cancelled and refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from puna.engine import prefix_hash
from puna.engine.engine import Engine
from puna.engine.model_key import model_key
from puna.engine.prefix_hash import ImageKey
from puna.engine.protocol import Submit, decode_command, encode
from puna.engine.sequence import Sequence
from puna.engine.types import (
    ErrorEvent,
    Event,
    FinishedEvent,
    GenerationRequest,
    Image,
    SamplingParams,
    TokenEvent,
)
from puna.errors import InvalidRequest
from puna.gguf import open_model
from puna.models import ImageEncoder, Model, load_encoder
from tests.models import tiny, tiny_llava
from tests.models.projectors import write_projector
from tests.models.running import loaded
from tests.models.test_vision import golden

ROWS, START = tiny_llava.ROWS, tiny_llava.BEFORE
GREEDY = SamplingParams(temperature=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text model and its projector."""
    folder = tmp_path_factory.mktemp("llava")
    tiny.write_folder(folder / "text", tiny_llava.TEXT)
    write_projector(folder / "mmproj.gguf")
    return folder


@pytest.fixture
def model(folder: Path) -> Iterator[Model]:
    with loaded(folder / "text", tokens=512, context=256) as model:
        yield model


@pytest.fixture
def encoder(folder: Path) -> Iterator[ImageEncoder]:
    with open_model(folder / "mmproj.gguf") as file:
        made = load_encoder(file, threads=1)
    yield made
    made.close()


@contextmanager
def engine_of(model: Model, encoder: ImageEncoder | None) -> Iterator[Engine]:
    engine = Engine(model, context=256, max_sequences=4, encoder=encoder, check=True)
    yield engine
    engine.close(0)


def request(name: str, *pictures: str, tokens: int = 8) -> GenerationRequest:
    """The prompt with one image after another in its middle."""
    ids = tiny.prompt(tiny_llava.TEXT)
    places = [START + i * ROWS for i in range(len(pictures))]
    images = [Image(at, ROWS, golden(f"{p}_pixels").tobytes()) for at, p in zip(places, pictures, strict=True)]
    prompt = (*ids[:START], *([0] * ROWS * len(pictures)), *ids[START : START + tiny_llava.AFTER])
    return GenerationRequest(name, prompt, tokens, sampling=GREEDY, logprobs=0, images=tuple(images))


def run(engine: Engine, *requests: GenerationRequest) -> list[Event]:
    for each in requests:
        engine.add(each)
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def answer(events: list[Event], name: str) -> list[tuple[int, float]]:
    """Tokens, and how likely they were, to the last bit."""
    mine = [event for event in events if isinstance(event, TokenEvent) and event.id == name]
    return [(event.token, event.logprobs.chosen) for event in mine if event.logprobs]


def cached(events: list[Event], name: str) -> int:
    [last] = [event for event in events if isinstance(event, FinishedEvent) and event.id == name]
    return last.usage.cache.cached_tokens


def test_two_images_of_one_text_share_no_more_than_the_blocks_before_them(model: Model, encoder: ImageEncoder) -> None:
    with engine_of(model, encoder) as engine:
        first = run(engine, request("a", "wide"))
        second = run(engine, request("b", "tall"))
        again = run(engine, request("c", "wide"))
    assert answer(first, "a") != answer(second, "b")  # else a picture would be another's
    assert cached(second, "b") == 0  # the image begins in the first block
    assert cached(again, "c") == 64
    assert answer(again, "c") == answer(first, "a")


def test_the_reason_of_a_miss_is_the_image(model: Model, encoder: ImageEncoder) -> None:
    with engine_of(model, encoder) as engine:
        run(engine, request("a", "wide"))
        [last] = [event for event in run(engine, request("b", "tall")) if isinstance(event, FinishedEvent)]
    assert last.usage.cache.reason == f"differs at token {START} from what is cached"


def test_images_beside_each_other_are_not_mixed_up(model: Model, encoder: ImageEncoder) -> None:
    pairs = (("wide", "tall"), ("tall", "wide"), ("wide", "wide"))
    alone = []
    for pair in pairs:
        with engine_of(model, encoder) as engine:
            alone.append(answer(run(engine, request("x", *pair)), "x"))
    with engine_of(model, encoder) as engine:
        events = run(engine, *(request(str(i), *pair) for i, pair in enumerate(pairs)))
    assert [answer(events, str(i)) for i in range(3)] == alone
    assert alone[0] != alone[1] != alone[2]


def test_steps_of_few_rows_and_a_preempted_sequence_change_no_bit(folder: Path, encoder: ImageEncoder) -> None:
    answers = []
    for tokens in (512, 192):  # the second time there is no room for both
        with (
            loaded(folder / "text", tokens=tokens, context=tokens) as model,
            engine_of_blocks(model, encoder, 96) as engine,
        ):
            events = run(engine, request("a", "wide", tokens=80), request("b", "tall", tokens=80))
            answers.append([answer(events, name) for name in "ab"])
    assert answers[0] == answers[1]


@contextmanager
def engine_of_blocks(model: Model, encoder: ImageEncoder, rows: int) -> Iterator[Engine]:
    engine = Engine(model, context=192, max_sequences=2, encoder=encoder, check=True)
    engine.scheduler.max_tokens = rows
    yield engine
    engine.close(0)


def test_who_decodes_is_not_held_up_by_an_image(
    model: Model, encoder: ImageEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("puna.engine.image_reader.SECONDS", 0.0)  # no layer in a step, but for those others do first
    with engine_of(model, encoder) as engine:
        engine.add(request("text", tokens=20))
        engine.step()
        engine.add(request("image", "wide"))
        events = [event for _ in range(12) for event in engine.step()]
        assert len(answer(events, "text")) >= 12
        assert not answer(events, "image")
        engine.cancel("image")
        rest: list[Event] = []
        while engine.has_work:
            rest += engine.step()
    assert any(isinstance(event, FinishedEvent) and event.reason == "cancelled" for event in rest)


def test_an_image_that_was_given_up_does_not_spoil_the_next(model: Model, encoder: ImageEncoder) -> None:
    with engine_of(model, encoder) as engine:
        expected = answer(run(engine, request("a", "tall")), "a")
    with engine_of(model, encoder) as engine:
        encoder.begin(golden("wide_pixels").tobytes())
        encoder.advance()
        assert answer(run(engine, request("b", "tall")), "b") == expected


@pytest.mark.parametrize(
    "images",
    [
        (Image(0, ROWS, b"\0" * 10),),
        (Image(0, ROWS - 1, golden("wide_pixels").tobytes()),),
    ],
)
def test_an_image_of_a_wrong_size_is_answered_by_an_error(
    model: Model, encoder: ImageEncoder, images: tuple[Image, ...]
) -> None:
    with engine_of(model, encoder) as engine:
        [event] = run(engine, replace(request("a"), prompt=(0,) * 80, images=images))
    assert isinstance(event, ErrorEvent)
    assert event.type == "InvalidRequest"


def test_a_model_without_an_encoder_says_so(model: Model) -> None:
    with engine_of(model, None) as engine:
        [event] = run(engine, request("a", "wide"))
    assert isinstance(event, ErrorEvent)
    assert "sees no images" in event.message


@pytest.mark.parametrize("places", [[(-1, 4)], [(0, 0)], [(8, 4)], [(0, 4), (3, 4)], [(4, 2), (0, 2)]])
def test_places_outside_the_prompt_or_over_each_other_are_refused(places: list[tuple[int, int]]) -> None:
    with pytest.raises(InvalidRequest, match="image"):
        GenerationRequest("a", (0,) * 10, images=tuple(Image(start, rows, b"") for start, rows in places))


def test_a_request_with_images_goes_through_the_pipe_as_it_is() -> None:
    sent = Submit(request("a", "wide", "tall"))
    line = encode(sent)
    assert line.count(b"\n") == 1
    assert decode_command(line) == sent


def test_keys_tell_images_their_places_and_their_parts_apart() -> None:
    def keys(*images: ImageKey) -> tuple[bytes, ...]:
        found: list[bytes] = []
        prefix_hash.extend(found, [0] * 96, 32, 3, images)
        return tuple(found)

    a, b = b"a" * 32, b"b" * 32
    variants = [(), (ImageKey(40, 60, a),), (ImageKey(40, 60, b),), (ImageKey(41, 61, a),), (ImageKey(30, 60, a),)]
    assert len({keys(*images) for images in variants}) == len(variants)
    assert keys()[0] == keys(ImageKey(40, 60, a))[0]  # what comes before it is shared
    assert keys(ImageKey(0, 32, a))[1] != keys()[1]  # and what comes after is not


def test_weights_of_the_projector_are_in_the_name_of_what_is_kept_on_disk(folder: Path, tmp_path: Path) -> None:
    def key(projector: Path | None) -> str:
        with open_model(folder / "text") as file:
            opened = None if projector is None else open_model(projector)
            name = model_key(file, kv_type="f16", digests=tmp_path / "digests", projector=opened)
            return name if isinstance(name, str) else name(lambda: None)

    changed = {name: array.copy() for name, array in tiny_llava.weights().items()}
    changed["mm.2.bias"][0] += np.float32(1)
    other = write_projector(tmp_path / "other.gguf", tensors=changed)
    mean = write_projector(
        tmp_path / "mean.gguf", metadata={"clip.vision.image_mean": np.array([0.5, 0.5, 0.5], np.float32)}
    )
    found = [key(path) for path in (None, folder / "mmproj.gguf", other, mean)]
    assert len(set(found)) == 4
    assert [key(path) for path in (None, folder / "mmproj.gguf", other, mean)] == found


def test_vectors_are_given_up_when_their_places_are_computed(model: Model, encoder: ImageEncoder) -> None:
    with engine_of(model, encoder) as engine:
        engine.add(request("a", "wide", tokens=8))
        while not any(isinstance(event, TokenEvent) for event in engine.step()):
            pass
        engine.step()
        [sequence] = list(engine.scheduler)
        assert isinstance(sequence, Sequence)
        assert all(picture.vectors is None for picture in sequence.pictures)
