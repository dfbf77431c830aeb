"""Image encoders against transformers (goldens made by `make_vision_goldens.py`), and their vectors in a text model.

The measure is the largest error over the range of the golden's numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, open_model
from puna.models import Chunk, ImageEncoder, ImageRows, blocks_for, load_encoder
from tests.models import tiny, tiny_llava
from tests.models.projectors import write_projector
from tests.models.running import Logits, loaded
from tests.models.test_oracle import F32_BOUND, cosine, error

GOLDENS = Path(__file__).parent / "goldens"


def golden(name: str) -> NDArray[Any]:
    with np.load(GOLDENS / "llava.npz") as arrays:
        found: NDArray[Any] = arrays[name]
    return found


@contextmanager
def encoder(path: Path, *, threads: int = 1) -> Iterator[ImageEncoder]:
    with open_model(path) as file:
        made = load_encoder(file, threads=threads)
    try:
        yield made
    finally:
        made.close()


def vectors(path: Path, picture: str, *, threads: int = 1) -> NDArray[np.float32]:
    with encoder(path, threads=threads) as made:
        made.begin(golden(f"{picture}_pixels").tobytes())
        while made.busy:
            made.advance()
        return made.vectors()


def logits(folder: Path, image: NDArray[np.float32], cuts: list[int]) -> Logits:
    """Those of the last tokens of the prompt, of which a step computes what is between two cuts."""
    ids, start = tiny_llava.prompt(), tiny_llava.BEFORE
    table = range(blocks_for(len(ids)))
    with loaded(folder, tokens=len(ids), kv_type="f32", threads=2) as model:
        for first, end in zip([0, *cuts], [*cuts, len(ids)], strict=True):
            a, b = max(first, start), min(end, start + len(image))
            rows = [ImageRows(a - first, image[a - start : b - start])] if a < b else []
            last = tiny_llava.SHOWN_LOGITS if end == len(ids) else 0
            found = model.forward([Chunk(ids[first:end], first, table, last, images=rows)])
        return found.copy()


@pytest.mark.parametrize("picture", tiny_llava.PICTURES)
def test_vectors_and_logits_are_those_of_transformers(picture: str, tmp_path: Path) -> None:
    found = vectors(write_projector(tmp_path / "mmproj.gguf"), picture)
    assert found.shape == (tiny_llava.ROWS, tiny.CONFIGS[tiny_llava.TEXT]["hidden_size"])
    assert error(found[list(tiny_llava.SHOWN)], golden(f"{picture}_vectors")) < F32_BOUND
    folder = tiny.write_folder(tmp_path / "text", tiny_llava.TEXT)
    assert error(logits(folder, found, []), golden(f"{picture}_logits")) < F32_BOUND


def test_a_prompt_cut_anywhere_in_the_image_gives_the_same_bits(tmp_path: Path) -> None:
    image = vectors(write_projector(tmp_path / "mmproj.gguf"), "wide")
    folder = tiny.write_folder(tmp_path / "text", tiny_llava.TEXT)
    whole = logits(folder, image, [])
    for cuts in ([30], [31, 40], [29, 66], [1, 47, 48, 65], [67]):
        assert np.array_equal(logits(folder, image, cuts), whole), cuts


def test_the_number_of_threads_and_the_image_before_change_no_bit(tmp_path: Path) -> None:
    path = write_projector(tmp_path / "mmproj.gguf")
    alone = vectors(path, "tall")
    with encoder(path, threads=2) as made:
        for picture in ("wide", "tall"):
            made.begin(golden(f"{picture}_pixels").tobytes())
            made.advance()
        while made.busy:
            made.advance()
        assert np.array_equal(made.vectors(), alone)


def test_old_converters_names_of_the_feed_forward_give_the_same_bits(tmp_path: Path) -> None:
    path = write_projector(tmp_path / "old.gguf", swapped=True, metadata={"clip.projector_type": None})
    assert np.array_equal(vectors(path, "wide"), vectors(write_projector(tmp_path / "new.gguf"), "wide"))


@pytest.mark.parametrize(("kind", "least"), [("F16", 0.999999), ("Q8_0", 0.9995)])
def test_weights_of_other_types_change_the_vectors_a_little(kind: str, least: float, tmp_path: Path) -> None:
    found = vectors(write_projector(tmp_path / "mmproj.gguf", kind=GGMLType[kind]), "wide")
    theirs = golden("wide_vectors")
    assert error(found[list(tiny_llava.SHOWN)], theirs) > 0
    assert cosine(found[list(tiny_llava.SHOWN)], theirs) > least


def test_an_image_of_another_size_and_rows_beyond_the_chunk_are_refused(tmp_path: Path) -> None:
    with encoder(write_projector(tmp_path / "mmproj.gguf")) as made, pytest.raises(ValueError, match="bytes"):
        made.begin(b"\0" * 100)
    image = np.zeros((3, 128), np.float32)
    with loaded(tiny.write_folder(tmp_path / "text", tiny_llava.TEXT)) as model:
        for first in (-1, 3):
            with pytest.raises(ValueError, match="places"):
                model.forward([Chunk([1] * 5, 0, range(1), 1, images=[ImageRows(first, image)])])


@pytest.mark.parametrize(
    ("metadata", "kind", "words"),
    [
        ({"clip.projector_type": "resampler"}, UnsupportedModel, "'resampler'"),
        ({"clip.vision.feature_layer": np.array([1, 2], np.int32)}, UnsupportedModel, "layers"),
        ({"clip.vision.attention.head_count": 5}, UnsupportedModel, "heads"),
        ({"clip.vision.image_size": 1 << 20}, InvalidGGUF, "image_size"),
        ({"clip.vision.patch_size": 0}, InvalidGGUF, "patch_size"),
        ({"clip.vision.patch_size": 7}, InvalidGGUF, "v.patch_embd.weight"),
        ({"clip.vision.image_std": np.array([1, 0, 1], np.float32)}, InvalidGGUF, "image_std"),
        ({"clip.vision.image_mean": np.array([1, np.nan, 1], np.float32)}, InvalidGGUF, "image_mean"),
        ({"clip.vision.block_count": 1}, UnsupportedModel, "v.blk.1"),
        ({"clip.vision.block_count": 3}, InvalidGGUF, "v.blk.2"),
    ],
)
def test_a_file_that_lies_or_is_of_another_kind_is_refused_by_name(
    metadata: dict[str, Any], kind: type[Exception], words: str, tmp_path: Path
) -> None:
    path = write_projector(tmp_path / "mmproj.gguf", metadata=metadata)
    with pytest.raises(kind, match=words), encoder(path):
        pass
