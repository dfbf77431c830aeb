"""Models fetched from the Hugging Face Hub and ModelScope, by the hubs' own APIs on loopback."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import huggingface_hub
import pytest

from puna.conversion import import_folder
from puna.errors import DigestMismatch, ModelNotFound, TransferError, UnsupportedModel
from puna.gguf import GGUFWriter, open_model
from puna.store import Store, manifest
from puna.store.names import ModelName
from puna.store.progress import Progress
from puna.store.sources import huggingface, modelscope
from puna.store.sources.choosing import InRepository, source_of
from puna.store.sources.fetching import fetch
from puna.store.store import CRIA
from puna.store.transfer.retrying import Patience
from tests import minilm
from tests.conversion.folders import tiny_model
from tests.store.sources.hub_server import COMMIT, Hub, hub_server
from tests.store.sources.tls import self_signed

HOSTS = ["hf.co", "modelscope.cn"]


@pytest.fixture(scope="module")
def cria() -> bytes:
    """A real model: the one in the box."""
    return Store().resolve(str(CRIA)).path.read_bytes()


def shards_of(data: bytes, folder: Path) -> list[bytes]:
    """The same in three files, as llama.cpp's gguf-split writes them."""
    folder.mkdir()
    whole = folder / "whole.gguf"
    whole.write_bytes(data)
    with open_model(whole) as file:
        writer = GGUFWriter()
        for key, value in file.metadata.items():
            kind = file.value_types[key]  # type: ignore[attr-defined]
            writer.add(key, value, None if kind.name == "ARRAY" else kind)
        for tensor in file.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
        size = sum(tensor.nbytes for tensor in file.tensors.values())
        return [path.read_bytes() for path in writer.write(folder / "s.gguf", max_shard_size=size // 2)]


def pull(store: Store, text: str) -> list[Progress]:
    told: list[Progress] = []
    origin = source_of(text)
    assert isinstance(origin, InRepository)
    fetch(store, origin, told.append, threading.Event())
    return told


def forget_clients() -> None:
    """The library's client, which is made once for a process."""
    huggingface_hub.close_session()


def model_bytes(store: Store, name: str) -> bytes:
    return store.resolve(name).path.read_bytes()


@pytest.mark.parametrize("host", HOSTS)
def test_the_preferred_file_of_a_repository_comes_byte_for_byte_and_can_be_resolved(
    host: str, hub: Hub, store: Store, cria: bytes
) -> None:
    hub.files["u/m"] = {"m-F16.gguf": b"never asked for", "m-Q8_0.gguf": cria, "README.md": b"#"}
    told = pull(store, f"{host}/u/m")
    assert model_bytes(store, f"{host}/u/m") == cria
    digest = hashlib.sha256(cria).hexdigest()
    assert any(step.digest == digest and step.completed == step.total == len(cria) for step in told)
    assert not any("F16" in path for path in hub.paths())


@pytest.mark.parametrize("host", HOSTS)
def test_a_model_in_shards_is_joined_into_the_very_file_it_was_before_and_the_shards_go(
    host: str, hub: Hub, store: Store, cria: bytes, tmp_path: Path
) -> None:
    shards = shards_of(cria, tmp_path / "split")
    assert len(shards) > 1
    hub.files["u/m"] = {f"Q8_0/m-{n:05}-of-{len(shards):05}.gguf": data for n, data in enumerate(shards, 1)}
    pull(store, f"{host}/u/m:Q8_0")
    with open_model(store.resolve(f"{host}/u/m:Q8_0").path) as joined:
        assert "split.count" not in joined.metadata
    joined_bytes = model_bytes(store, f"{host}/u/m:Q8_0")
    assert hashlib.sha256(joined_bytes).digest() == hashlib.sha256(cria).digest()
    assert not any(store.blobs.has(hashlib.sha256(shard).hexdigest()) for shard in shards)


def test_what_was_joined_once_is_not_fetched_again(hub: Hub, store: Store, cria: bytes, tmp_path: Path) -> None:
    shards = shards_of(cria, tmp_path / "split")
    hub.files["u/m"] = {f"m-Q8_0-{n:05}-of-{len(shards):05}.gguf": data for n, data in enumerate(shards, 1)}
    pull(store, "hf.co/u/m")
    raw = manifest.read(manifest.path_of(store.root, ModelName.parse("hf.co/u/m"))).raw
    hub.seen.clear()
    pull(store, "hf.co/u/m")
    assert [path.partition("?")[0] for path in hub.paths()] == ["/api/models/u/m"]
    assert manifest.read(manifest.path_of(store.root, ModelName.parse("hf.co/u/m"))).raw == raw


@pytest.mark.parametrize(("host", "variable"), [("hf.co", "HF_TOKEN"), ("modelscope.cn", "MODELSCOPE_API_TOKEN")])
def test_a_token_opens_a_private_model_and_is_never_sent_to_the_host_of_a_redirect(
    host: str, variable: str, hub: Hub, store: Store, cria: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files["u/m"] = {"m-Q8_0.gguf": cria}
    hub.token = "secret-token"
    with pytest.raises((ModelNotFound, TransferError), match=variable):
        pull(store, f"{host}/u/m")
    monkeypatch.setenv(variable, hub.token)
    pull(store, f"{host}/u/m")
    assert model_bytes(store, f"{host}/u/m") == cria
    redirected = [credentials for _, name, _, credentials in hub.seen if name.startswith("localhost")]
    assert redirected
    assert set(redirected) == {""}


def test_a_token_is_not_sent_to_a_mirror(hub: Hub, store: Store, cria: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files["u/m"] = {"m-Q8_0.gguf": cria}
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    monkeypatch.setenv("PUNA_MIRRORS", f"hf.co={hub.url}")
    pull(store, "hf.co/u/m")
    assert model_bytes(store, "hf.co/u/m") == cria
    assert {credentials for *_, credentials in hub.seen} == {""}


def test_the_commit_that_was_listed_is_the_one_that_is_fetched(hub: Hub, store: Store, cria: bytes) -> None:
    hub.files["u/m"] = {"m-Q8_0.gguf": cria}
    hub.revisions = ("v1", COMMIT)
    pull(store, "hf.co/u/m@v1")
    assert model_bytes(store, "hf.co/u/m:v1") == cria
    assert any(f"/resolve/{COMMIT}/" in path for path in hub.paths())
    with pytest.raises(ModelNotFound, match="no revision 'v2'"):
        pull(store, "hf.co/u/m@v2")


@pytest.mark.parametrize("host", HOSTS)
def test_other_bytes_than_the_hub_promised_never_enter_the_store(
    host: str, hub: Hub, store: Store, cria: bytes
) -> None:
    hub.files["u/m"] = {"m-Q8_0.gguf": cria}
    hub.lies["m-Q8_0.gguf"] = cria[:-1] + bytes([cria[-1] ^ 1])
    with pytest.raises(DigestMismatch):
        pull(store, f"{host}/u/m")
    assert {model.name for model in store.list()} == {"cria:latest", *minilm.NAMES}
    assert not list(store.blobs.folder.glob("sha256-*")) if store.blobs.folder.exists() else True


def test_texts_of_the_repository_go_with_the_model_and_are_checked_against_git(
    hub: Hub, store: Store, cria: bytes
) -> None:
    hub.files["u/m"] = {"m-Q8_0.gguf": cria, "system": b"Be brief.", "params": b'{"temperature": 0.5}'}
    hub.plain = frozenset({"system", "params"})
    pull(store, "hf.co/u/m")
    model = store.resolve("hf.co/u/m")
    assert model.system == "Be brief."
    assert model.parameters is not None
    assert model.parameters["temperature"] == 0.5
    hub.lies["system"] = b"Be cruel."
    with pytest.raises(DigestMismatch):
        pull(store, "hf.co/u/m")


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "path",
    [
        "../../../escaped-Q8_0.gguf",
        "/escaped-Q8_0.gguf",
        "..\\escaped-Q8_0.gguf",
        "a/../../escaped-Q8_0.gguf",
        "escaped\n-Q8_0.gguf",
    ],
)
def test_a_file_name_from_the_network_is_no_path_on_this_disk(
    host: str, path: str, hub: Hub, store: Store, cria: bytes, tmp_path: Path
) -> None:
    hub.files["u/m"] = {path: cria}
    with pytest.raises(UnsupportedModel):
        pull(store, f"{host}/u/m")
    hub.files["u/m"] = {"quants/escaped-Q8_0.gguf": cria}
    pull(store, f"{host}/u/m")
    assert not [found for found in tmp_path.rglob("*") if "escaped" in found.name]
    assert not Path("/escaped-Q8_0.gguf").exists()


@pytest.mark.parametrize(
    ("files", "wanted", "error", "words"),
    [
        ({"m-Q8_0.gguf": b"x"}, ":Q4_0", ModelNotFound, "it has Q8_0"),
        ({"README.md": b"x"}, "", UnsupportedModel, "neither a GGUF file nor a model in safetensors"),
        ({"pytorch_model.bin": b"x", "config.json": b"{}"}, "", UnsupportedModel, "a pickle, which may run code"),
        ({"m-Q8_0-00002-of-00002.gguf": b"x"}, "", UnsupportedModel, "neither"),
    ],
)
def test_a_repository_without_what_is_wanted_is_refused_by_name(
    files: dict[str, bytes], wanted: str, error: type[Exception], words: str, hub: Hub, store: Store
) -> None:
    hub.files["u/m"] = files
    with pytest.raises(error, match=words):
        pull(store, f"hf.co/u/m{wanted}")


def test_a_model_in_safetensors_is_imported_and_quantised_to_what_the_tag_says(
    hub: Hub, store: Store, tmp_path: Path
) -> None:
    folder = tiny_model(tmp_path / "m")
    hub.files["u/m"] = {path.name: path.read_bytes() for path in folder.iterdir()} | {"../evil.json": b"{}"}
    hub.plain = frozenset(path.name for path in folder.iterdir() if path.suffix != ".safetensors")
    pull(store, "hf.co/u/m")
    assert import_folder(folder, tmp_path / "expected.gguf") is not None
    assert model_bytes(store, "hf.co/u/m") == (tmp_path / "expected.gguf").read_bytes()
    pull(store, "hf.co/u/m:Q8_0")
    assert store.resolve("hf.co/u/m:Q8_0").details.quantization_level == "Q8_0"
    weights = (folder / "model.safetensors").read_bytes()
    assert not store.blobs.has(hashlib.sha256(weights).hexdigest())
    hub.seen.clear()
    pull(store, "hf.co/u/m:Q8_0")
    assert not any("safetensors" in path for path in hub.paths())


def test_a_hub_that_is_busy_for_a_moment_is_asked_again(hub: Hub) -> None:
    hub.files["u/m"] = {"m-Q8_0.gguf": b"x"}
    hub.failures = 2
    origin = source_of("hf.co/u/m")
    assert isinstance(origin, InRepository)
    found = huggingface.listing(origin, threading.Event(), Patience(first=0.01))
    assert [file.path for file in found.files] == ["m-Q8_0.gguf"]


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"[]",
        b"{}",
        b"null",
        b'{"id": 3, "siblings": 4}',
        b'{"id": "u/m", "siblings": [{"rfilename": 5, "size": -1}]}',
        b'{"id": "u/m", "sha": ["x"], "siblings": [{"rfilename": "a-Q8_0.gguf", "size": "7", "lfs": {}}]}',
        b'{"Data": []}',
        b'{"Data": {"Files": [null, 5, {"Path": 5, "Size": 1}, {"Path": "a.gguf", "Size": true}]}}',
    ],
)
@pytest.mark.parametrize("host", HOSTS)
def test_whatever_a_hub_answers_the_outcome_is_an_error_of_ours(
    host: str, answer: bytes, hub: Hub, store: Store
) -> None:
    hub.answer = answer
    with pytest.raises((TransferError, ModelNotFound, UnsupportedModel)):
        pull(store, f"{host}/u/m")


@pytest.mark.parametrize("params", [b"{", b"[1]", b'{"temperature": 1e999}', b'{"temperature": NaN}', b"[" * 100_000])
def test_parameters_that_are_no_json_are_refused_with_their_file_s_name(
    params: bytes, hub: Hub, store: Store, cria: bytes
) -> None:
    hub.files["u/m"] = {"m-Q8_0.gguf": cria, "params": params}
    hub.plain = frozenset({"params"})
    with pytest.raises(TransferError, match="file params is not"):
        pull(store, "hf.co/u/m")


@pytest.mark.parametrize("host", HOSTS)
def test_an_answer_without_end_is_not_read_to_its_end(
    host: str, hub: Hub, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (huggingface, modelscope):
        monkeypatch.setattr(module, "MAX_ANSWER", 1000)
    hub.answer = b"[" * 5000
    with pytest.raises(TransferError, match="more than"):
        pull(store, f"{host}/u/m")


@pytest.mark.parametrize("host", HOSTS)
def test_a_hub_behind_a_certificate_authority_of_one_s_own_is_trusted_by_the_usual_variable_alone(
    host: str, store: Store, cria: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    with hub_server(certificate) as hub:
        hub.files["u/m"] = {"m-Q8_0.gguf": cria}
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
        forget_clients()
        with pytest.raises(TransferError, match=r"not trusted.*SSL_CERT_FILE"):
            pull(store, f"{host}/u/m")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        forget_clients()
        pull(store, f"{host}/u/m")
    forget_clients()
    assert model_bytes(store, f"{host}/u/m") == cria


def test_a_gated_model_says_where_its_conditions_are(hub: Hub, store: Store) -> None:
    hub.files["u/m"] = {"m-Q8_0.gguf": b"x"}
    hub.gated = True
    with pytest.raises(TransferError, match=r"gated: accept its conditions at http://127.0.0.1:\d+/u/m"):
        pull(store, "hf.co/u/m")


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("host", HOSTS)
def test_a_repository_that_is_not_there_is_told_so(host: str, store: Store) -> None:
    with pytest.raises(ModelNotFound, match="u/none"):
        pull(store, f"{host}/u/none")
