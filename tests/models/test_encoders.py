"""Encoders against transformers (goldens made by `make_encoder_goldens.py`): tiny random ones, and all-MiniLM-L6-v2.

The measure is the largest error over the range of the golden's numbers; for unit vectors their differences.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.engine.engine import Engine
from puna.engine.types import EmbeddingEvent, EmbeddingRequest, ErrorEvent, GenerationRequest
from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import GGMLType, ModelConfig, open_model
from puna.models import Chunk, Model, blocks_for
from puna.tokenizer import load as load_tokenizer
from tests.minilm import FOLDER, needs_minilm
from tests.models import tiny_encoders as tiny
from tests.models.minilm_texts import TEXTS
from tests.models.running import loaded, write_gguf

GOLDENS = Path(__file__).parent / "goldens"
BOUND = 1e-4

States = NDArray[np.float32]


def golden(name: str) -> States:
    with np.load(GOLDENS / "encoders.npz") as arrays:
        found: States = arrays[name]
    return found


def error(ours: States, theirs: States) -> float:
    return float(np.abs(ours - theirs).max() / max(1.0, np.ptp(theirs)))


def states(model: Model, tokens: list[int], wanted: range, second: int | None = None) -> States:
    model.forward([Chunk(tokens, 0, range(blocks_for(len(tokens))), 0, wanted, second)])
    return model.states().copy()


def run(path: Path, name: str, *, second: int | None = tiny.SECOND) -> States:
    """What the golden shows."""
    with loaded(path, tokens=96, threads=2) as model:
        if name in tiny.RANKERS:
            scores: States = states(model, tiny.prompt(name), range(1), second)[0]
            return scores
        shown: States = states(model, tiny.prompt(name), range(tiny.TOKENS))[list(tiny.SHOWN)]
        return shown


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_f32_states_and_scores_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    assert error(run(tiny.write_folder(tmp_path, name), name), golden(name)) < BOUND


@pytest.mark.parametrize("name", tiny.CONFIGS)
def test_a_gguf_with_llama_cpps_names_gives_the_same_bits(name: str, tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path / "folder", name)
    with open_model(folder) as file:
        path = write_gguf(tmp_path / "model.gguf", file, None)
    assert np.array_equal(run(path, name), run(folder, name))


def test_nomic_berts_published_names_and_settings_give_the_same_bits(tmp_path: Path) -> None:
    names = {"n_embd": "hidden_size", "n_layer": "num_hidden_layers", "n_head": "num_attention_heads"}
    names |= {"n_inner": "intermediate_size", "n_positions": "max_position_embeddings"}
    names |= {"layer_norm_epsilon": "layer_norm_eps"}
    config = tiny.CONFIGS["nomic_bert"]
    changes = {**dict.fromkeys(names.values()), **{theirs: config[ours] for theirs, ours in names.items()}}
    changes |= {"activation_function": "swiglu", "hidden_act": None, "rope_parameters": None, "rotary_emb_base": 1000}
    published = tiny.write_folder(
        tmp_path / "published", "nomic_bert", changes=changes, tensors=tiny.as_published(tiny.weights("nomic_bert"))
    )
    folder = tiny.write_folder(tmp_path / "folder", "nomic_bert")
    assert np.array_equal(run(published, "nomic_bert"), run(folder, "nomic_bert"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("nomic_bert", {"rope_parameters": {"rope_theta": 10000.0}}),
        ("bert", {"layer_norm_eps": 1e-1}),
        ("xlm_roberta", {"pad_token_id": 2}),  # positions begin elsewhere
        ("bert", {"num_attention_heads": 2}),
    ],
)
def test_what_the_goldens_vouch_for_shows_in_them(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    wrong = run(tiny.write_folder(tmp_path, name, changes=changes), name)
    assert error(wrong, golden(name)) > 10 * BOUND


def test_the_second_text_of_a_pair_has_a_type_of_its_own(tmp_path: Path) -> None:
    folder = tiny.write_folder(tmp_path, "bert_ranker")
    assert error(run(folder, "bert_ranker", second=None), golden("bert_ranker")) > 10 * BOUND


@pytest.mark.parametrize("part", ["attn_q", "attn_output", "ffn_up", "attn_output_norm", "layer_output_norm"])
def test_no_bias_could_be_dropped_unseen(part: str, tmp_path: Path) -> None:
    def drop(arrays: dict[str, NDArray[np.float32]]) -> None:
        arrays[f"blk.1.{part}.bias"][:] = 0

    with open_model(tiny.write_folder(tmp_path, "bert")) as folder:
        path = write_gguf(tmp_path / "model.gguf", folder, GGMLType.F32, change=drop)
    assert error(run(path, "bert"), golden("bert")) > 10 * BOUND


def test_texts_of_one_step_do_not_see_each_other_and_are_the_same_bits_alone(tmp_path: Path) -> None:
    tokens = tiny.prompt("bert")
    with loaded(tiny.write_folder(tmp_path, "bert"), tokens=600, threads=2) as model:
        chunks, block = [], 0
        for length in (70, 1, 33, 64):
            table = range(block, block + blocks_for(length))
            chunks.append(Chunk(tokens[:length], 0, table, 0, range(length)))
            block += len(table)
        model.forward(chunks)
        together = np.split(model.states().copy(), np.cumsum([70, 1, 33])[:3])
        for chunk, found in zip(chunks, together, strict=True):
            assert np.array_equal(states(model, list(chunk.tokens), chunk.states), found)


def test_half_a_text_and_logits_are_refused(tmp_path: Path) -> None:
    with loaded(tiny.write_folder(tmp_path, "bert"), tokens=96) as model:
        with pytest.raises(ValueError, match="whole texts"):
            model.forward([Chunk([5, 6], 3, [0], 0)])
        with pytest.raises(ValueError, match="outputs"):
            model.forward([Chunk([5, 6], 0, [0], 1)])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder"),
    ],
)
def test_a_folder_that_would_be_run_wrong_is_refused(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        open_model(tiny.write_folder(tmp_path, "bert", changes=changes))


def test_a_table_of_positions_too_short_for_roberta_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidGGUF, match="leaves no position"):
        open_model(tiny.write_folder(tmp_path, "xlm_roberta", changes={"max_position_embeddings": 2}))


def vectors(path: Path, texts: list[list[int]], *, context: int = 96) -> States:
    """Through the engine, pooled as the file says."""
    with loaded(path, tokens=2048, context=context, threads=2) as model:
        engine = Engine(model, context=context, max_sequences=2, check=True)
        for index, text in enumerate(texts):
            engine.add(EmbeddingRequest(f"{index}", tuple(text)))
        made: dict[int, States] = {}
        while engine.has_work:
            for event in engine.step():
                assert isinstance(event, EmbeddingEvent), event
                made[int(event.id)] = np.frombuffer(event.vector, "<f4")
    return np.array([made[index] for index in range(len(texts))])


def test_an_encoder_that_says_nothing_pools_by_the_mean(tmp_path: Path) -> None:
    folder, tokens = tiny.write_folder(tmp_path, "bert"), tiny.prompt("bert")
    with loaded(folder, tokens=96) as model:
        mean = states(model, tokens, range(len(tokens))).mean(0)
    assert np.abs(vectors(folder, [tokens])[0] - mean / np.linalg.norm(mean)).max() < 1e-6


def test_an_encoder_does_not_write(tmp_path: Path) -> None:
    with loaded(tiny.write_folder(tmp_path, "bert"), tokens=96) as model:
        engine = Engine(model, context=96, max_sequences=2)
        engine.add(GenerationRequest("chat", (5, 6, 7), 3))
        [event] = engine.step()
        assert isinstance(event, ErrorEvent)
        assert event.type == "UnsupportedModel"
        with pytest.raises(UnsupportedModel, match="does not write"):
            engine.logits([5, 6])


def minilm_golden() -> States:
    with np.load(GOLDENS / "minilm.npz") as arrays:
        found: States = arrays["vectors"]
    return found


def minilm_vectors(path: Path) -> States:
    with open_model(FOLDER) as file:
        tokenizer = load_tokenizer(file)
    ids = [tokenizer.encode(text) for text in TEXTS]
    cut = [text if len(text) <= 256 else [*text[:255], *tokenizer.suffix] for text in ids]
    return vectors(path, cut, context=512)


@needs_minilm
def test_all_minilms_vectors_are_sentence_transformers() -> None:
    assert np.abs(minilm_vectors(FOLDER) - minilm_golden()).max() < 1e-5  # 1e-4 would do


@needs_minilm
@pytest.mark.parametrize(("kind", "least"), [(GGMLType.F16, 0.99999), (GGMLType.Q8_0, 0.999)], ids=["f16", "q8_0"])
def test_all_minilm_keeps_its_vectors_directions_in_fewer_bits(kind: GGMLType, least: float, tmp_path: Path) -> None:
    with open_model(FOLDER) as file:
        path = write_gguf(tmp_path / "minilm.gguf", file, kind)
    cosines = (minilm_vectors(path) * minilm_golden()).sum(axis=1)
    assert cosines.min() > least


@needs_minilm
def test_all_minilms_folder_says_how_it_pools() -> None:
    with open_model(FOLDER) as file:
        config = ModelConfig.from_model(file)
    assert (config.pooling, config.causal, config.context_length, config.labels) == ("mean", False, 512, 0)
