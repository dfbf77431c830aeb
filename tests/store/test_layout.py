"""Ollama's layout both ways: a store made by hand from the facts is read, and what Puna writes follows the same facts.

The bytes were written by Go's json.Encoder over structs with the fields of Ollama's (types/model/config.go,
manifest/manifest.go); their digests are fixed here, so that no change of ours can move both sides at once.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from puna.errors import PunaError, UnsupportedModel
from puna.store import Config, ModelName, Store, go_json, layers, management, manifest
from puna.store.layers import Draft, Layer
from tests import minilm
from tests.store.ollama_store import CRIA

CONFIG = (
    b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"3.05M","file_type":"Q8_0",'
    b'"renderer":"qwen3.5","requires":"0.14.0","capabilities":["tools"],"context_length":4096,'
    b'"draft":{"model_format":"gguf","architecture":"llama"},"architecture":"amd64","os":"linux"}\n'
)
SAFETENSORS_CONFIG = (
    b'{"model_format":"safetensors","model_family":"","model_families":null,"model_type":"","file_type":"",'
    b'"architecture":"amd64","os":"linux"}\n'
)
PARAMS = (
    rb'{"big":1e+21,"num_ctx":4096,"stop":["\u003c|im_end|\u003e","A \u0026 B"],"temperature":0.7,"tiny":1e-7,'
    rb'"top_p":0.95}' + b"\n"
)
MESSAGES = (
    rb'[{"role":"user","content":"hi \u003cb\u003e"},{"role":"assistant","content":"'
    + "你好".encode()
    + rb'\u2028\t\"x\""}]'
    + b"\n"
)
GGUF = b"GGUF: the weights"
MANIFEST = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":'
    b'"application/vnd.docker.container.image.v1+json","digest":'
    b'"sha256:1bdebea1c9ff5ced204e02f086914187ba0c4f058a0b69cbbd19add087163738","size":293},"layers":[{"mediaType":'
    b'"application/vnd.ollama.image.model","digest":'
    b'"sha256:8bc074ad653f6755917e2ad820eba6d312cfae21e1d6845f068cd38e4a50090b","size":17,"from":'
    b'"registry.ollama.ai/library/base:latest"},{"mediaType":"application/vnd.ollama.image.params","digest":'
    b'"sha256:b398bdd82ad62a197ffc157fe765542a802c66d8455f68209d285c4dd300e8c1","size":117}]}\n'
)
MANIFEST_DIGEST = "54ff7a7b9fef73b6f4952f146fb75d50764bbb811e0ad3141525801bc4c80a91"

CONFIG_VALUES = Config(
    model_family="llama",
    model_families=("llama",),
    model_type="3.05M",
    file_type="Q8_0",
    renderer="qwen3.5",
    requires="0.14.0",
    capabilities=("tools",),
    context_length=4096,
    draft=Draft("gguf", "llama"),
)
PARAMS_VALUES = {
    "big": 1e21,
    "num_ctx": 4096,
    "stop": ["<|im_end|>", "A & B"],
    "temperature": np.float32(0.7),
    "tiny": np.float32(1e-7),
    "top_p": 0.95,
}
MESSAGES_VALUES = [{"role": "user", "content": "hi <b>"}, {"role": "assistant", "content": '你好\u2028\t"x"'}]


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    """A store as Ollama leaves it, written with nothing of Puna's."""
    root = tmp_path / "ollama"
    (root / "blobs").mkdir(parents=True)
    parts = {
        "config": b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"3.05M",'
        b'"file_type":"Q8_0","architecture":"amd64","os":"linux"}\n',
        "model": CRIA.read_bytes(),
        "params": PARAMS,
        "messages": MESSAGES,
        "system": b"Be brief.",
        "license": b"Apache-2.0",
    }
    entries = {}
    for kind, data in parts.items():
        digest = hashlib.sha256(data).hexdigest()
        (root / "blobs" / f"sha256-{digest}").write_bytes(data)
        prefix = "application/vnd.ollama.image."
        media = "application/vnd.docker.container.image.v1+json" if kind == "config" else prefix + kind
        entries[kind] = f'{{"mediaType":"{media}","digest":"sha256:{digest}","size":{len(data)}}}'
    config = entries.pop("config")
    text = (
        '{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json",'
        f'"config":{config},"layers":[{",".join(entries.values())}]}}'
    )
    for name in ("registry.ollama.ai/library/llama/3b", "hf.co/Me/Model-GGUF/Q8_0"):
        path = root / "manifests" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return root


def read_as_ollama(root: Path) -> dict[str, dict[str, bytes]]:
    """By Ollama's rules alone: every name with its parts by media type. Fails where Ollama would."""
    models = {}
    for path in (root / "manifests").glob("*/*/*/*"):
        host, namespace, model, tag = path.relative_to(root / "manifests").parts
        assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*", part) for part in (host, namespace, model, tag))
        document = json.loads(path.read_bytes())
        assert document["schemaVersion"] == 2
        assert document["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"
        parts = {}
        for entry in [document["config"], *document["layers"]]:
            assert re.fullmatch("sha256:[0-9a-f]{64}", entry["digest"])
            data = (root / "blobs" / entry["digest"].replace(":", "-")).read_bytes()
            assert len(data) == entry["size"]
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == entry["digest"]
            parts[entry["mediaType"]] = data
        models[f"{host}/{namespace}/{model}:{tag}"] = parts
    for path in (root / "blobs").iterdir():
        assert re.fullmatch("sha256-[0-9a-f]{64}", path.name), "Ollama removes it when it starts"
        assert path.is_file()
    return models


def test_a_store_of_ollama_s_is_read_and_its_digests_are_ollama_s(by_hand: Path) -> None:
    store = Store(by_hand)
    model = store.resolve("llama:3b")
    raw = (by_hand / "manifests/registry.ollama.ai/library/llama/3b").read_bytes()
    assert model.digest == hashlib.sha256(raw).hexdigest()
    assert model.path.read_bytes() == CRIA.read_bytes()
    assert model.parameters == {name: pytest.approx(value) for name, value in PARAMS_VALUES.items()}
    assert [(message.role, message.content) for message in model.messages] == [
        (message["role"], message["content"]) for message in MESSAGES_VALUES
    ]
    assert (model.system, model.licenses) == ("Be brief.", ("Apache-2.0",))
    assert store.resolve("hf.co/me/model-gguf:q8_0").digest == model.digest
    assert {each.name for each in store.list()} == {
        "llama:3b",
        "hf.co/Me/Model-GGUF:Q8_0",
        "cria:latest",
        *minilm.NAMES,
    }


def test_reading_a_store_writes_nothing_into_it(by_hand: Path) -> None:
    before = sorted(by_hand.rglob("*"))
    Store(by_hand).list()
    Store(by_hand).resolve("llama:3b")
    assert sorted(by_hand.rglob("*")) == before


def test_a_model_of_ollama_s_keeps_its_bytes_when_it_is_copied_and_ollama_s_rules_still_hold(by_hand: Path) -> None:
    management.copy(Store(by_hand), ModelName.parse("llama:3b"), ModelName.parse("me/mine"))
    models = read_as_ollama(by_hand)
    assert models["registry.ollama.ai/me/mine:latest"] == models["registry.ollama.ai/library/llama:3b"]
    source, copy = (by_hand / "manifests/registry.ollama.ai" / name for name in ("library/llama/3b", "me/mine/latest"))
    assert copy.read_bytes() == source.read_bytes()
    assert not copy.read_bytes().endswith(b"\n"), "a pulled manifest has none, and gets none"


def test_what_ollama_does_not_know_stays_out_of_its_folders(by_hand: Path) -> None:
    store = Store(by_hand)
    with store.blobs.pinned() as blobs, blobs.scratch() as path:
        path.write_bytes(b"half")
        assert set(read_as_ollama(by_hand)) == {"registry.ollama.ai/library/llama:3b", "hf.co/Me/Model-GGUF:Q8_0"}


def test_a_manifest_and_its_parts_have_ollama_s_bytes() -> None:
    assert CONFIG_VALUES.to_bytes() == CONFIG
    assert Config(model_format="safetensors").to_bytes() == SAFETENSORS_CONFIG
    assert go_json.encode(PARAMS_VALUES) == PARAMS
    assert go_json.encode(MESSAGES_VALUES) == MESSAGES
    weights = Layer(
        layers.MODEL, hashlib.sha256(GGUF).hexdigest(), len(GGUF), from_="registry.ollama.ai/library/base:latest"
    )
    params = Layer(layers.PARAMS, hashlib.sha256(PARAMS).hexdigest(), len(PARAMS))
    config = Layer(layers.CONFIG, hashlib.sha256(CONFIG).hexdigest(), len(CONFIG))
    raw = layers.manifest_bytes(config, (weights, params))
    assert raw == MANIFEST
    assert hashlib.sha256(raw).hexdigest() == MANIFEST_DIGEST


def test_a_config_that_is_read_is_written_as_it_was() -> None:
    for data in (CONFIG, SAFETENSORS_CONFIG):
        assert Config.of(json.loads(data)).to_bytes() == data


def test_a_model_made_here_is_one_to_ollama(tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    with store.blobs.pinned() as blobs:
        parts = [blobs.add_file(CRIA, layers.MODEL), blobs.add_bytes(PARAMS, layers.PARAMS)]
        config = blobs.add_bytes(CONFIG_VALUES.to_bytes(), layers.CONFIG)
        management.commit(store.root, ModelName.parse("Me/Mine:Q8"), layers.manifest_bytes(config, tuple(parts)))
    found = read_as_ollama(store.root)
    assert set(found) == {"registry.ollama.ai/Me/Mine:Q8"}
    assert found["registry.ollama.ai/Me/Mine:Q8"][layers.MODEL] == CRIA.read_bytes()
    assert found["registry.ollama.ai/Me/Mine:Q8"][layers.CONFIG] == CONFIG
    assert store.resolve("me/mine:q8").config == CONFIG_VALUES


DIGESTS = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
LAYERS = st.builds(
    Layer,
    st.sampled_from([layers.MODEL, layers.PARAMS, layers.TENSOR, "text/plain", "odd <type>"]),
    DIGESTS,
    st.integers(0, 1 << 50),
    st.text(),
    st.text(),
)


@settings(max_examples=40)
@given(LAYERS, st.lists(LAYERS, min_size=1))
def test_a_manifest_says_after_reading_what_it_said_before_writing(config: Layer, parts: list[Layer]) -> None:
    read = manifest.parse(layers.manifest_bytes(config, tuple(parts)), Path("x"))
    assert (read.config, read.layers) == (config, tuple(parts))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=80) | DIGESTS.map("sha256:{}".format),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["config", "layers", "digest", "size", "mediaType", "from"]), inner, max_size=6
        )
    ),
    max_leaves=30,
)


@settings(max_examples=40)
@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200))
def test_no_manifest_breaks_the_reader_or_names_a_file_elsewhere(raw: bytes) -> None:
    try:
        read = manifest.parse(raw, Path("x"))
    except UnsupportedModel:
        return
    for layer in read.parts:
        assert re.fullmatch("[0-9a-f]{64}", layer.digest)
        assert layer.size >= 0


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from([*Config.__slots__, "other"]), JSON))
def test_no_config_breaks_the_reader(document: dict[str, object]) -> None:
    try:
        Config.of(document).to_bytes()
    except PunaError:
        return
