"""Headers of models that are elsewhere: a few hundred kilobytes are read whatever their size, and nothing is kept."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bench import make_model
from puna.errors import InvalidGGUF, ModelNotFound, TransferError
from puna.gguf import GGMLType, GGUFWriter
from puna.planner.anatomy import anatomy_of
from puna.store import Store, layers
from puna.store.headers import header
from tests.store.registry_server import RegistryServer, ignores_ranges, sends_another_range
from tests.store.sources.hub_server import Hub, hub_server

SHAPE = make_model.Shape("llama", 8, 1024, 2048, 8, 8, 60000)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """120 MB, of which 2 MB are header."""
    path = tmp_path_factory.mktemp("models") / "m.gguf"
    make_model.write(path, SHAPE, "Q4_0")
    return path.read_bytes()


def read(text: str, root: Path) -> int:
    """Reads a header; the model's parameters."""
    with header(Store(root), text, cancelled=threading.Event()) as file:
        return anatomy_of(file).parameters


def test_a_registrys_model_is_planned_for_by_its_header_alone(model: bytes, tmp_path: Path) -> None:
    with RegistryServer() as registry:
        registry.token = "secret"  # asked for, as registries do
        registry.add_model("library/big", "latest", [(layers.MODEL, model)])
        started = time.monotonic()
        with header(Store(tmp_path), f"http://{registry.host}/library/big", cancelled=threading.Event()) as file:
            anatomy = anatomy_of(file)
        assert time.monotonic() - started < 60
        assert anatomy.layers == SHAPE.layers
        assert anatomy.vocab_size == SHAPE.vocabulary
        assert registry.sent < 1_200_000
    assert not any(tmp_path.rglob("*"))


def test_a_model_in_files_of_a_hub_is_planned_for_shard_by_shard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = {}
    for number in range(3):
        writer = GGUFWriter("llama")
        writer.add("split.no", np.uint16(number))
        writer.add("split.count", np.uint16(3))
        if number == 0:
            for key, value in {"block_count": 3, "embedding_length": 64, "context_length": 128,
                               "attention.head_count": 2}.items():  # fmt: skip
                writer.add(f"llama.{key}", np.uint32(value))
        data = np.zeros((4096, 64), np.float32)
        writer.add_tensor(f"blk.{number}.attn_q.weight", data.shape, GGMLType.F32, data)
        writer.write(tmp_path / "shard")
        shards[f"q8/m-Q8_0-{number + 1:05}-of-00003.gguf"] = (tmp_path / "shard").read_bytes()
    with hub_server() as hub:
        hub.files["user/split"] = shards
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert read("hf.co/user/split", tmp_path / "store") == 3 * 4096 * 64
        assert sent(hub) < 3 * 200_000


def sent(hub: Hub) -> int:
    """Bytes of ranges at most: each request is for a piece."""
    return sum(1 << 17 for path in hub.paths() if path.startswith("/storage/"))


def test_what_is_here_is_read_here_and_what_is_nowhere_is_said_to_be(tmp_path: Path) -> None:
    assert read("cria", tmp_path) > 3_000_000
    with RegistryServer() as registry, pytest.raises(ModelNotFound, match="none of that name"):
        read(f"http://{registry.host}/library/none", tmp_path)
    with pytest.raises(ModelNotFound):
        read("./absent.gguf", tmp_path)


def test_servers_that_misbehave_are_an_error_and_never_a_download(model: bytes, tmp_path: Path) -> None:
    for fault in (ignores_ranges(), sends_another_range(5)):
        with RegistryServer() as registry:
            registry.add_model("library/big", "latest", [(layers.MODEL, model)])
            registry.faults.append(fault)
            with pytest.raises((TransferError, InvalidGGUF)):
                read(f"http://{registry.host}/library/big", tmp_path)
            assert registry.sent < 40_000_000
