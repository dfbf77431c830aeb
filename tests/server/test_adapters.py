"""Models of one base that differ in their adapters: chosen by name, at once, on one copy of the base's weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from puna.gguf import open_model
from puna.store import Store
from puna.store.create import create as make
from puna.store.modelfile import Modelfile
from puna.store.recipe import request_of
from tests.gguf.huggingface.folders import safetensors
from tests.models.test_adapters import pairs, write_adapter
from tests.server.process import server_process
from tests.store.ollama_store import CRIA

NAMES = ("base", "first", "second")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The server's store."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def client(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server with cria in its store, as `base`, and two models of it.

    The adapter of `first` came as GGUF, that of `second` as a PEFT folder's files.
    """
    folder = tmp_path_factory.mktemp("adapters")
    gguf = write_adapter(folder / "first.gguf", pairs(CRIA, 4, 1, ("attn_v", "ffn_down")), 64.0)
    with server_process(root) as url, httpx.Client(base_url=url, timeout=280) as client:
        create(client, "base")
        create(client, "first", {"first.gguf": gguf.read_bytes()})
        create(client, "second", peft_files(seed=2))
        yield client


def create(client: httpx.Client, name: str, adapter: dict[str, bytes] | None = None, base: str = "cria") -> None:
    adapter = adapter or {}
    digests = {file: f"sha256:{hashlib.sha256(data).hexdigest()}" for file, data in adapter.items()}
    for file, data in adapter.items():
        client.post(f"/api/blobs/{digests[file]}", content=data).raise_for_status()
    made = client.post("/api/create", json={"model": name, "from": base, "adapters": digests, "stream": False})
    assert made.json() == {"status": "success"}, made.text


def peft_files(seed: int) -> dict[str, bytes]:
    """What PEFT's save_pretrained writes for two matrices of each of cria's layers."""
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[np.float32]] = {}
    with open_model(CRIA) as file:
        for name, tensor in file.tensors.items():
            module = {"attn_v": "self_attn.v_proj", "ffn_up": "mlp.up_proj"}.get(name.split(".")[-2])
            if module is not None:
                rows, columns = tensor.shape
                prefix = f"base_model.model.model.layers.{name.split('.')[1]}.{module}"
                tensors[f"{prefix}.lora_A.weight"] = random.standard_normal((4, columns), np.float32)
                tensors[f"{prefix}.lora_B.weight"] = random.standard_normal((rows, 4), np.float32) * np.float32(0.3)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 2, "bias": "none", "target_modules": ["v_proj", "up_proj"]}
    return {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": safetensors(tensors),
    }


def answer(client: httpx.Client, name: str) -> str:
    body = {
        "model": name,
        "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": 12,
        "temperature": 0,
    }
    reply = client.post("/v1/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    text = reply.json()["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def runners(client: httpx.Client) -> list[int]:
    return [model["puna"]["pid"] for model in client.get("/api/ps").json()["models"]]


def test_models_of_one_base_answer_at_once_each_with_its_adapter_from_one_runner(client: httpx.Client) -> None:
    alone = {}
    for name in NAMES:
        alone[name] = answer(client, name)
        client.post("/api/generate", json={"model": name, "keep_alive": 0}).raise_for_status()
    assert len(set(alone.values())) == 3, f"an adapter changes nothing: {alone}"
    for name in NAMES:
        answer(client, name)  # each is loaded beside those before it
    (pid,) = runners(client)
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda name: (name, answer(client, name)), NAMES * 4))
    assert together == [(name, alone[name]) for name in NAMES * 4]
    assert runners(client) == [pid], "there is a second copy of the weights"


def test_an_embedding_is_made_with_the_models_adapter(client: httpx.Client) -> None:
    vectors = [client.post("/api/embed", json={"model": name, "input": "hi"}).json()["embeddings"][0] for name in NAMES]
    assert len({tuple(vector) for vector in vectors}) == 3


def test_a_new_adapter_takes_the_place_of_the_old_one(client: httpx.Client) -> None:
    create(client, "third", peft_files(seed=2), base="first")
    assert answer(client, "third") == answer(client, "second")


def test_a_peft_folder_that_does_not_fit_the_base_is_refused_when_the_model_is_made(client: httpx.Client) -> None:
    files = peft_files(seed=2)
    files["adapter_config.json"] = files["adapter_config.json"].replace(b'"bias": "none"', b'"bias": "all"')
    with pytest.raises(AssertionError, match="bias is 'all', which is not supported"):
        create(client, "fourth", files)
    assert "fourth:latest" not in [model["name"] for model in client.get("/api/tags").json()["models"]]


def test_a_modelfile_makes_the_same_model_of_a_peft_folder(client: httpx.Client, root: Path, tmp_path: Path) -> None:
    (tmp_path / "peft").mkdir()
    for name, data in peft_files(seed=2).items():
        (tmp_path / "peft" / name).write_bytes(data)
    request, _ = request_of(Modelfile.parse("FROM cria\nADAPTER ./peft"), "of-folder", tmp_path)
    make(Store(root), request)
    assert answer(client, "of-folder") == answer(client, "second")
