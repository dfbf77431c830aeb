"""Final hidden states against llama.cpp's embeddings (xllamacpp) of the same GGUF, pooled as the file says."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import pytest
import xllamacpp
from numpy.typing import NDArray

from puna.conversion.importing import import_folder
from puna.engine.engine import Engine
from puna.engine.types import EmbeddingEvent, EmbeddingRequest
from puna.gguf import GGMLType, open_model
from puna.tokenizer import load as load_tokenizer
from tests.minilm import FOLDER, needs_minilm
from tests.models.minilm_texts import TEXTS
from tests.models.running import VOCAB, loaded, placeholder_vocabulary, write_gguf, write_random_llama

POOLING = {"mean": 1, "cls": 2, "last": 3}


def _texts(count: int) -> list[list[int]]:
    random = np.random.default_rng(5)
    return [random.integers(3, VOCAB, length).tolist() for length in random.integers(1, 120, count)]


def _llama_cpp(path: Path, texts: list[list[int]], pooling: int) -> NDArray[np.float32]:
    with TemporaryDirectory() as folder:
        socket = f"{folder}/llama.sock"
        parameters = xllamacpp.CommonParams()
        parameters.model.path, parameters.hostnames = str(path), [socket]
        parameters.n_ctx, parameters.n_parallel, parameters.cpuparams.n_threads = 512, 1, 1
        parameters.warmup, parameters.verbosity, parameters.embedding = False, -1, True
        parameters.pooling_type = xllamacpp.llama_pooling_type(pooling)
        server = xllamacpp.Server(parameters)
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://llama", timeout=60) as client:
            replies = [client.post("/v1/embeddings", json={"input": text}).raise_for_status().json() for text in texts]
        del server
    return np.array([reply["data"][0]["embedding"] for reply in replies], np.float32)


def _puna(path: Path, texts: list[list[int]]) -> NDArray[np.float32]:
    with loaded(path, tokens=2048) as model:
        engine = Engine(model, context=512, max_sequences=2)
        for index, text in enumerate(texts):
            engine.add(EmbeddingRequest(f"{index}", tuple(text)))
        made: dict[int, NDArray[np.float32]] = {}
        while engine.has_work:
            for event in engine.step():
                assert isinstance(event, EmbeddingEvent), event
                made[int(event.id)] = np.frombuffer(event.vector, "<f4")
    return np.array([made[index] for index in range(len(texts))])


@needs_minilm
def test_all_minilms_vectors_are_llama_cpps(tmp_path: Path) -> None:
    """llama.cpp has GELU's other form (by tanh), and quantises nothing of F32."""
    path = tmp_path / "minilm.gguf"
    import_folder(FOLDER, path)
    with open_model(path) as file:
        tokenizer = load_tokenizer(file)
    texts = [tokenizer.encode(text)[:250] for text in TEXTS[:8]]
    cosines = (_puna(path, texts) * _llama_cpp(path, texts, POOLING["mean"])).sum(axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.parametrize("pooling", POOLING)
def test_crias_vectors_are_llama_cpps(pooling: str, tmp_path: Path) -> None:
    changes = {**placeholder_vocabulary(), "llama.pooling_type": POOLING[pooling]}
    with as_file(files("puna") / "data" / "cria.gguf") as cria, open_model(cria) as file:
        path = write_gguf(tmp_path / "cria.gguf", file, None, metadata=changes)
    texts = _texts(8)
    cosines = (_puna(path, texts) * _llama_cpp(path, texts, POOLING[pooling])).sum(axis=1)
    assert cosines.min() > 0.999


@pytest.mark.parametrize("kind", [GGMLType.F32, GGMLType.Q8_0, GGMLType.Q4_0], ids=lambda kind: kind.name)
def test_without_a_pooling_type_it_is_the_last_tokens_state(kind: GGMLType, tmp_path: Path) -> None:
    path = write_random_llama(tmp_path / "random.gguf", kind)
    texts = _texts(6)
    cosines = (_puna(path, texts) * _llama_cpp(path, texts, POOLING["last"])).sum(axis=1)
    assert cosines.min() > 0.999
