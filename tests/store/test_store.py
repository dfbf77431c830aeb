import hashlib
import json
import logging
from pathlib import Path

import pytest

from puna.chat import Message
from puna.errors import InvalidGGUF, InvalidRequest, ModelNotFound, UnsupportedModel
from puna.store import Store, describe
from tests import minilm
from tests.store.ollama_store import CRIA, PREFIX, add_blob, add_manifest, add_model


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_cria_is_found_with_no_store_at_all(root: Path) -> None:
    model = Store(root).resolve("CRIA")
    assert model.path == CRIA
    assert model.name == "cria:latest"
    assert model.digest == hashlib.sha256(CRIA.read_bytes()).hexdigest()
    assert (model.details.family, model.details.quantization_level) == ("llama", "Q8_0")
    assert {each.name for each in Store(root).list()} == {"cria:latest", *minilm.NAMES}


def test_the_layers_of_an_ollama_model_are_all_read(root: Path) -> None:
    manifest = add_model(
        root,
        layers=[
            ("system", b"Be brief."),
            ("params", json.dumps({"temperature": 0.5, "stop": ["<end>"]}).encode()),
            ("messages", json.dumps([{"role": "user", "content": "hi"}]).encode()),
            ("license", b"Apache-2.0"),
            ("template", b"{{ .Prompt }}"),
        ],
    )
    model = Store(root).resolve("llama")
    assert model.system == "Be brief."
    assert model.parameters == {"temperature": 0.5, "stop": ["<end>"]}
    assert model.messages == (Message("user", "hi"),)
    assert model.licenses == ("Apache-2.0",)
    assert model.digest == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert model.size > CRIA.stat().st_size
    assert model.details.parameter_size == "3.05M"


def test_what_a_model_has_and_cannot_be_used_is_kept_and_reported(root: Path) -> None:
    add_model(root, layers=[("template", b"{{ .Prompt }}"), ("projector", b"x"), ("adapter", b"y"), ("adapter", b"z")])
    model = Store(root).resolve("llama")
    assert model.template == "{{ .Prompt }}"
    assert [path.read_bytes() for path in (*model.projectors, *model.adapters)] == [b"x", b"y", b"z"]
    assert model.warnings == ("only the first of the model's 2 adapters is used",)


def test_names_match_whatever_their_case_on_disk(root: Path) -> None:
    add_model(root, "hf.co/Me/Model-GGUF/Q8_0")
    assert Store(root).resolve("hf.co/me/model-gguf:q8_0").name == "hf.co/Me/Model-GGUF:Q8_0"


def test_a_stored_cria_is_listed_once_and_wins(root: Path) -> None:
    add_model(root, "registry.ollama.ai/library/cria/latest", layers=[("system", b"mine")])
    assert Store(root).resolve("cria").system == "mine"
    assert [model.name for model in Store(root).list()].count("cria:latest") == 1


def test_what_is_not_there_is_answered_with_what_is(root: Path) -> None:
    add_model(root, "registry.ollama.ai/library/llama3/8b")
    with pytest.raises(ModelNotFound, match=r"model 'lama3:8b' not found: did you mean llama3:8b\?"):
        Store(root).resolve("lama3:8b")
    with pytest.raises(ModelNotFound, match="the models here are llama3:8b, cria:latest"):
        Store(root).resolve("zzz")


def test_a_gguf_and_a_relative_path_are_models_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "mine.gguf"
    copy.write_bytes(CRIA.read_bytes())
    monkeypatch.chdir(tmp_path)
    by_path = Store(tmp_path).resolve(str(copy))
    assert Store(tmp_path).resolve("mine.gguf").digest == by_path.digest
    assert by_path.size == CRIA.stat().st_size
    assert by_path.name == str(copy)


def test_a_server_store_opens_no_path_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CRIA.parent)
    for text in (str(CRIA), "cria.gguf", "./cria.gguf", "~/x", "..", "../data/cria.gguf"):
        with pytest.raises(InvalidRequest, match="by name only"):
            Store(tmp_path, allow_paths=False).resolve(text)


def test_a_missing_path_is_not_found_rather_than_a_bad_name(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="no such file or folder"):
        Store(tmp_path).resolve(str(tmp_path / "none.gguf"))


def test_a_file_that_is_no_gguf_says_so(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF but not really")
    with pytest.raises(InvalidGGUF):
        Store(tmp_path).resolve(str(path))


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "0" * 64, "", None])
def test_a_manifest_cannot_point_out_of_the_store(root: Path, digest: object) -> None:
    layer = {"mediaType": PREFIX + "model", "digest": digest, "size": 1}
    add_manifest(root, "h/n/m/t", json.dumps({"config": layer, "layers": [layer]}).encode())
    with pytest.raises(UnsupportedModel, match="not a model manifest"):
        Store(root).resolve("h/n/m:t")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"config": 1, "layers": []}', b"[" * 100_000, b" " * (5 << 20)]
)
def test_a_damaged_manifest_is_refused_and_does_not_empty_the_list(
    root: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    add_manifest(root, "h/n/m/t", content)
    with pytest.raises(UnsupportedModel):
        Store(root).resolve("h/n/m:t")
    with caplog.at_level(logging.WARNING):
        assert {model.name for model in Store(root).list()} == {"cria:latest", *minilm.NAMES}
    assert "h/n/m:t" in caplog.text


def test_a_blob_that_was_deleted_is_named(root: Path) -> None:
    add_model(root)
    digest = hashlib.sha256(CRIA.read_bytes()).hexdigest()
    (root / "blobs" / f"sha256-{digest}").unlink()
    with pytest.raises(ModelNotFound, match=f"sha256-{digest}.*pull the model again"):
        Store(root).resolve("llama")


def test_a_model_that_runs_elsewhere_is_refused(root: Path) -> None:
    add_model(root, config={"remote_host": "https://example.org"})
    with pytest.raises(UnsupportedModel, match=r"example\.org"):
        Store(root).resolve("llama")


def test_a_safetensors_manifest_says_that_it_has_no_gguf(root: Path) -> None:
    config = add_blob(root, b'{"model_format": "safetensors"}')
    layer = {"mediaType": PREFIX + "tensor", "digest": config, "size": 1}
    add_manifest(root, "h/n/m/t", json.dumps({"config": layer, "layers": [layer]}).encode())
    with pytest.raises(UnsupportedModel, match="safetensors"):
        Store(root).resolve("h/n/m:t")


def test_stray_files_in_the_manifests_folder_are_passed_over(root: Path) -> None:
    add_model(root)
    add_manifest(root, "registry.ollama.ai/library/llama/.DS_Store", b"junk")
    assert {model.name for model in Store(root).list()} == {"llama:latest", "cria:latest", *minilm.NAMES}


def test_describe_hides_long_arrays_unless_asked(root: Path) -> None:
    model = Store(root).resolve("cria")
    short, long = describe(model), describe(model, verbose=True)
    assert short.metadata["tokenizer.ggml.tokens"] == []
    tokens = long.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert len(tokens) == short.metadata["llama.vocab_size"]
    assert short.tensors == long.tensors
    assert long.tensors[0].name == "token_embd.weight"
    json.dumps(long.metadata)


@pytest.mark.parametrize(
    ("count", "text"),
    [(1_100_048_384, "1.1B"), (7_000_000_000, "7B"), (3_049_920, "3.05M"), (22_000, "22K"), (5, "5")],
)
def test_parameter_counts_read_as_in_ollama(count: int, text: str) -> None:
    from puna.store.store import human_count

    assert human_count(count) == text
