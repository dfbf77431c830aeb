import hashlib
import json
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from puna.errors import Cancelled, InvalidRequest, ModelNotFound, PunaError
from puna.gguf import GGUFWriter, open_model
from puna.store import LocalModel, ModelName, Progress, Store, layers, manifest
from puna.store.components import Components
from puna.store.create import create
from puna.store.create_request import CreateRequest
from puna.store.modelfile import Modelfile
from puna.store.pruning import prune
from puna.store.pulling import pull
from puna.store.recipe import modelfile_of, parameter_lines, request_of
from tests.conversion.folders import tiny_model
from tests.store.ollama_store import CRIA, add_model
from tests.store.registry_server import RegistryServer

CRIA_DIGEST = hashlib.sha256(CRIA.read_bytes()).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def made(store: Store, text: str, name: str = "made", **changes: Any) -> LocalModel:
    """Create from a Modelfile that lies beside the store."""
    request, _ = request_of(Modelfile.parse(text), name, store.root.parent)
    create(store, replace(request, **changes))
    return store.resolve(name)


def raw(store: Store, name: str = "made") -> bytes:
    return manifest.path_of(store.root, ModelName.parse(name)).read_bytes()


def kinds(store: Store, name: str = "made") -> list[str]:
    read = manifest.read(manifest.path_of(store.root, ModelName.parse(name)))
    return [layer.kind for layer in read.layers]


def test_what_is_written_is_byte_for_byte_what_ollama_writes(store: Store) -> None:
    text = f'FROM {CRIA}\nPARAMETER temperature 1\nPARAMETER stop <|x|>\nMESSAGE user a&b\nSYSTEM "é"\n'
    model = made(store, text)
    config = (
        b'{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"3.15M",'
        b'"file_type":"Q8_0","architecture":"amd64","os":"linux"}\n'
    )
    parts = [
        ("model", CRIA.read_bytes()),
        ("system", "é".encode()),
        ("params", b'{"stop":["\\u003c|x|\\u003e"],"temperature":1}\n'),
        ("messages", b'[{"role":"user","content":"a\\u0026b"}]\n'),
    ]

    def entry(media_type: str, data: bytes) -> dict[str, object]:
        return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}

    expected = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": entry("application/vnd.docker.container.image.v1+json", config),
        "layers": [entry(f"application/vnd.ollama.image.{kind}", data) for kind, data in parts],
    }
    assert raw(store) == json.dumps(expected, separators=(",", ":")).encode() + b"\n"
    assert model.digest == hashlib.sha256(raw(store)).hexdigest()


def test_layers_are_shared_and_what_is_said_anew_takes_the_place_of_the_old(store: Store) -> None:
    made(
        store,
        "FROM cria\nSYSTEM old\nPARAMETER top_k 5\nPARAMETER stop a\nLICENSE MIT\nMESSAGE user old\nRENDERER r\n",
        "base",
    )
    model = made(
        store,
        "FROM base\nSYSTEM new\nPARAMETER stop b\nPARAMETER seed 3\nLICENSE MIT\nLICENSE BSD\nPARSER p\n"
        "MESSAGE user new",
    )
    assert model.path.name == f"sha256-{CRIA_DIGEST}"
    assert model.system == "new"
    assert model.parameters == {"seed": 3, "stop": ["b"], "top_k": 5}
    assert model.licenses == ("MIT", "BSD")
    assert [message.content for message in model.messages] == ["new"]
    assert model.config is not None
    assert (model.config.renderer, model.config.parser) == ("r", "p")
    assert model.parent == "base:latest"
    unchanged = made(store, "FROM base\nSYSTEM again", "other")
    assert unchanged.licenses == ("MIT",)
    assert [message.content for message in unchanged.messages] == ["old"]


def test_progress_is_told_in_ollamas_words_and_order(store: Store) -> None:
    told: list[str] = []

    def report(step: Progress) -> None:
        if step.total is None:
            told.append(step.status)

    create(store, CreateRequest("a", from_="cria", system="s"), report=report)
    system = hashlib.sha256(b"s").hexdigest()
    assert told == [
        f"creating new layer sha256:{CRIA_DIGEST}",
        f"creating new layer sha256:{system}",
        "writing manifest",
    ]
    told.clear()
    files = {"cria.gguf": f"sha256:{CRIA_DIGEST}"}
    create(store, CreateRequest("b", files=files, system="s", template="{{ .Prompt }}"), report=report)
    assert told[:3] == [
        "parsing GGUF",
        f"using existing layer sha256:{CRIA_DIGEST}",
        f"creating new layer sha256:{hashlib.sha256(b'{{ .Prompt }}').hexdigest()}",
    ]
    assert told[-1] == "writing manifest"


FULL = (
    'FROM cria\nSYSTEM """a\n"b" """\nPARAMETER stop " <x>"\nPARAMETER stop "\n"\nPARAMETER num_ctx 1048576\n'
    "PARAMETER temperature 0.1\nPARAMETER use_mmap true\nTEMPLATE {{ .System }}{{ .Prompt }}\nLICENSE one\n"
    "LICENSE two\nMESSAGE user hi\nMESSAGE assistant yes\nRENDERER r\nPARSER p\nREQUIRES v0.14.0\n"
)


@pytest.mark.parametrize("text", ["FROM cria", FULL], ids=["bare", "full"])
def test_a_model_made_of_its_own_modelfile_has_the_same_digest(store: Store, text: str) -> None:
    model = made(store, text)
    assert made(store, modelfile_of(model), "again").digest == model.digest
    of_another = made(store, "FROM made\nSYSTEM other", "child")
    assert made(store, modelfile_of(of_another), "again").digest == of_another.digest


def test_so_has_one_that_another_program_wrote_in_its_own_manner(store: Store) -> None:
    parts = [("template", b"{{ .Prompt }}"), ("license", b"MIT"), ("params", b'{"top_k": 3.0,\n "stop": ["<|x|>"]}')]
    add_model(store.root, layers=parts)
    model = store.resolve("llama")
    assert made(store, modelfile_of(model), "again").digest == model.digest
    assert made(store, "FROM llama", "same").digest == model.digest
    assert made(store, "FROM llama\nPARSER x", "other").digest != model.digest


def test_so_has_one_whose_text_no_modelfile_can_hold(store: Store) -> None:
    docstring = 'def f():\n    """\n    Doc\n    """\n'
    create(store, CreateRequest("made", from_="cria", system=docstring, parameters={"num_gqa": 8, "seed": 1}))
    model = store.resolve("made")
    text = modelfile_of(model)
    assert "\nFROM made:latest\n" in text
    assert "# SYSTEM is left out" in text
    assert "# PARAMETER num_gqa is left out, and inherited: unknown parameter 'num_gqa'\n" in text
    assert made(store, text, "again").digest == model.digest


def test_a_list_of_which_a_modelfile_can_hold_only_a_part_is_inherited_whole(store: Store) -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "tool", "content": "result"}]
    create(store, CreateRequest("made", from_="cria", parameters={"stop": ['"""\nx', "a"]}, messages=messages))
    model = store.resolve("made")
    text = modelfile_of(model)
    assert "\nMESSAGE" not in text
    assert "\nPARAMETER" not in text
    assert made(store, text, "again").digest == model.digest


def test_a_layer_with_what_no_json_has_is_still_shown(store: Store) -> None:
    add_model(store.root, layers=[("params", b'{"temperature": NaN, "a\\nFROM /x": 1}')])
    text = modelfile_of(store.resolve("llama"))
    assert "# PARAMETER temperature is left out" in text
    assert "\nFROM /x" not in text
    assert parameter_lines(store.resolve("llama").parameters or {})[1] == f"{'temperature':<30} nan"


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.lists(st.text(max_size=20), max_size=2), st.floats(0, 2))
def test_no_text_or_number_breaks_that(store: Store, system: str, stops: list[str], heat: float) -> None:
    parameters = {"stop": stops, "temperature": heat} if stops else {}
    create(store, CreateRequest("made", from_="cria", system=system, parameters=parameters))
    model = store.resolve("made")
    assert made(store, modelfile_of(model), "again").digest == model.digest


def test_a_file_is_copied_or_used_where_it_is(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "mine.gguf"
    copy.write_bytes(CRIA.read_bytes())
    made(store, "FROM ./mine.gguf", "used", reference=True)
    blob = store.blobs.path(CRIA_DIGEST)
    assert blob.is_symlink()
    assert blob.resolve() == copy.resolve()
    other = Store(tmp_path / "other")
    made(other, "FROM ./mine.gguf", "copied")
    assert not other.blobs.path(CRIA_DIGEST).is_symlink()


def test_a_blob_of_the_store_named_as_a_file_is_not_copied(store: Store) -> None:
    model = made(store, "FROM cria")
    told: list[Progress] = []
    request, _ = request_of(Modelfile.parse(modelfile_of(model)), "again", store.root)
    create(store, request, report=told.append)
    assert not [step for step in told if step.total]


def gguf(path: Path, architecture: str, **metadata: Any) -> Path:
    """A GGUF with metadata and hardly a weight."""
    writer = GGUFWriter(architecture)
    for key, value in metadata.items():
        writer.add(key.replace("__", "."), value)
    writer.write(path)
    return path


def test_projectors_adapters_and_drafts_are_kept_as_what_they_are(store: Store, tmp_path: Path) -> None:
    gguf(tmp_path / "a-projector.gguf", "clip", clip__has_vision_encoder=True)
    gguf(tmp_path / "lora.gguf", "llama", general__type="adapter")
    gguf(tmp_path / "draft.gguf", "eagle3")
    text = f"FROM ./a-projector.gguf\nFROM {CRIA}\nADAPTER lora.gguf\nDRAFT draft.gguf"
    model = made(store, text)
    assert kinds(store) == ["model", "projector", "adapter", "draft"]
    assert (len(model.projectors), len(model.adapters)) == (1, 1)
    assert model.draft is not None
    assert model.config is not None
    assert model.config.draft == layers.Draft("gguf", "eagle3")
    assert made(store, modelfile_of(model), "again").digest == model.digest


def test_making_a_second_model_of_weights_does_not_disturb_who_reads_them(store: Store) -> None:
    model = made(store, f"FROM {CRIA}")
    with open_model(model.path) as file:
        before = file.state
        made(store, f"FROM {CRIA}\nSYSTEM other", "again")
        assert file.state == before
        file.tensors["token_embd.weight"].read(0, 1)


def test_a_new_draft_takes_the_place_of_the_old_one(store: Store, tmp_path: Path) -> None:
    gguf(tmp_path / "one.gguf", "eagle3")
    gguf(tmp_path / "two.gguf", "other")
    made(store, "FROM cria\nDRAFT one.gguf", "base")
    model = made(store, "FROM base\nDRAFT two.gguf")
    assert kinds(store).count("draft") == 1
    assert model.config is not None
    assert model.config.draft == layers.Draft("gguf", "other")


def test_parameters_of_a_base_that_no_json_has_are_an_error_of_ours(store: Store) -> None:
    add_model(store.root, layers=[("params", b'{"temperature": NaN}')])
    with pytest.raises(InvalidRequest, match="cannot be written as JSON"):
        made(store, "FROM llama\nPARAMETER seed 1")


def test_shards_become_one_file_whether_they_are_named_or_uploaded(store: Store, tmp_path: Path) -> None:
    with open_model(CRIA) as file:
        writer = GGUFWriter()
        for key, value in file.metadata.items():
            writer.add(key, value)
        for tensor in file.tensors.values():
            writer.add_tensor(tensor.name, tensor.shape, tensor.type, tensor.data)
        names = [path.name for path in writer.write(tmp_path / "x.gguf", max_shard_size=1 << 20)]
    assert len(names) > 2
    first = made(store, f"FROM ./{names[0]}")
    assert first.path.parent == store.blobs.folder
    with open_model(first.path) as joined, open_model(CRIA) as whole:
        assert "split.count" not in joined.metadata
        assert joined.tensors.keys() == whole.tensors.keys()
    uploaded = {name: store.blobs.add_file(tmp_path / name, layers.MODEL).digest for name in names}
    create(store, CreateRequest("b", files={name: f"sha256:{digest}" for name, digest in uploaded.items()}))
    assert store.resolve("b").digest == first.digest


def test_a_folder_is_imported_and_the_same_files_uploaded_give_the_same(store: Store, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "tiny", dtype="F16")
    model = made(store, "FROM ./tiny")
    assert model.details.quantization_level == "F16"
    files = {path.name: f"sha256:{store.blobs.add_file(path, layers.JSON).digest}" for path in folder.iterdir()}
    create(store, CreateRequest("tiny", files=files))
    assert store.resolve("tiny").digest == model.digest
    smaller = made(store, "FROM made", "smaller", quantize="q8_0")
    assert smaller.details.quantization_level == "Q8_0"
    assert made(store, "FROM ./tiny", "at-once", quantize="Q8_0").path == smaller.path


def test_what_looks_wrong_with_new_weights_is_said_at_once(store: Store, tmp_path: Path) -> None:
    tiny_model(tmp_path / "tiny")
    told: list[Progress] = []
    request, _ = request_of(Modelfile.parse("FROM ./tiny"), "made", tmp_path)
    create(store, request, report=told.append)
    assert any("no chat template" in (step.warning or "") for step in told)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (CreateRequest("m"), "neither 'from' or 'files' was specified"),
        (CreateRequest("a b", from_="cria"), "invalid model name"),
        (CreateRequest("m", from_="a b"), "invalid model name"),
        (CreateRequest("m", from_="cria", requires="new"), r"requires must be a valid semver \(e.g. 0.14.0\)"),
        (CreateRequest("m", from_="cria", requires="1.2.3.4"), "requires must be a valid semver"),
        (CreateRequest("m", from_="cria", template="{{ .Prompt"), "template error: "),
        (CreateRequest("m", from_="cria", quantize="Q9"), "Q9"),
        (CreateRequest("m", from_="cria", quantize="q4_0"), "only supported for F16, BF16 and F32 models"),
        (CreateRequest("m", from_="cria", draft_quantize="q8_0"), "--draft-quantize requires a DRAFT model"),
        (CreateRequest("m", files={"/etc/x.gguf": "sha256:" + "a" * 64}), "file path must be relative"),
        (CreateRequest("m", files={"../x.gguf": "sha256:" + "a" * 64}), "file path must be relative"),
        (CreateRequest("m", files={"a\\..\\x": "sha256:" + "a" * 64}), "file path must be relative"),
        (CreateRequest("m", files={"x.gguf": "../../etc/passwd"}), "invalid digest format"),
        (CreateRequest("m", files={"x.gguf": "sha256:" + "a" * 64}), "not found: POST it to /api/blobs"),
        (CreateRequest("m", from_="cria", info={"model_family": 1}), 'info field "model_family" must be a string'),
        (CreateRequest("m", from_="cria", info={"context_length": "1"}), '"context_length" must be a number'),
        (CreateRequest("m", from_="cria", info={"context_length": -1}), "must be a non-negative integer"),
        (CreateRequest("m", from_="cria", info={"bogus": 1}), 'info field "bogus" is unknown'),
        (CreateRequest("m", from_="cria", system="\ud800"), "half a character"),
        (CreateRequest("m", from_="cria", system="x" * (manifest.MAX_TEXT + 1)), "the most it may have"),
    ],
)  # fmt: skip
def test_a_request_that_makes_no_sense_is_refused_and_leaves_nothing(
    store: Store, request_: CreateRequest, message: str
) -> None:
    with pytest.raises(PunaError, match=message):
        create(store, request_)
    assert not list(manifest.names(store.root))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.gguf", b"not a model", "supplied file was not in GGUF format"),
        ("x.bin", b"not a model", "unknown type"),
        ("x.gguf", b"GGUF", "sha256-"),
        ("x.safetensors", b"", "config.json"),
    ],
)
def test_a_file_that_is_no_model_is_refused(store: Store, name: str, content: bytes, message: str) -> None:
    digest = store.blobs.add_bytes(content, layers.MODEL).digest
    with pytest.raises(PunaError, match=message):
        create(store, CreateRequest("m", files={name: digest_text(digest)}))
    assert not list(manifest.names(store.root))


def digest_text(digest: str) -> str:
    return f"sha256:{digest}"


def test_parts_of_models_are_no_models_and_one_is_enough(store: Store, tmp_path: Path) -> None:
    projector = gguf(tmp_path / "p.gguf", "clip", clip__has_vision_encoder=True)
    files = {path.name: digest_text(store.blobs.add_file(path, layers.MODEL).digest) for path in (CRIA, projector)}
    with pytest.raises(InvalidRequest, match="no base model was found"):
        create(store, CreateRequest("m", files={"p.gguf": files["p.gguf"]}))
    with pytest.raises(InvalidRequest, match="several models"):
        create(store, CreateRequest("m", files={"a.gguf": files["cria.gguf"], "b.gguf": files["cria.gguf"]}))
    two = {"a.gguf": files["p.gguf"], "b.gguf": files["p.gguf"]}
    with pytest.raises(InvalidRequest, match="only one adapter is currently supported"):
        create(store, CreateRequest("m", from_="cria", adapters=two))


def test_a_model_that_is_not_here_is_pulled_where_that_is_possible(store: Store) -> None:
    with pytest.raises(ModelNotFound, match="model 'far' not found"):
        create(store, CreateRequest("m", from_="far"))

    def pull(name: str) -> ModelName:
        add_model(store.root, f"registry.ollama.ai/library/{name}/latest", layers=[("system", b"far away")])
        return ModelName.parse(name)

    create(store, CreateRequest("m", from_="far"), pull=pull)
    assert store.resolve("m").system == "far away"


def test_what_is_cancelled_leaves_no_model(store: Store) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        create(store, CreateRequest("m", from_="cria", system="s"), cancelled=cancelled)
    assert not list(manifest.names(store.root))


def test_info_is_said_in_the_config(store: Store) -> None:
    info = {"capabilities": ["completion"], "model_family": "f", "parameter_size": "9B", "context_length": 7.0}
    create(store, CreateRequest("m", from_="cria", info=info))
    config = store.resolve("m").config
    assert config is not None
    assert (config.capabilities, config.model_families, config.model_type) == (("completion",), ("f",), "9B")
    assert config.context_length == 7


def test_a_model_may_be_made_anew_of_itself(store: Store) -> None:
    made(store, "FROM cria\nSYSTEM one")
    assert made(store, "FROM made\nSYSTEM two").system == "two"
    assert made(store, "FROM made\nPARAMETER seed 1").system == "two"


def test_components_of_a_request_are_used_only_where_it_has_them(store: Store) -> None:
    create(store, CreateRequest("m", components=Components(files=(CRIA,))))
    assert store.resolve("m").path == store.blobs.path(CRIA_DIGEST)


def test_pruning_by_another_process_does_not_take_away_what_is_being_written(store: Store, tmp_path: Path) -> None:
    tiny_model(tmp_path / "tiny", dtype="F16")
    request, _ = request_of(Modelfile.parse("FROM ./tiny"), "made", tmp_path)

    def report(_: Progress) -> None:
        assert not prune(store.root, everything=True)

    create(store, replace(request, quantize="Q8_0"), report=report)
    assert store.resolve("made").details.quantization_level == "Q8_0"
    assert not list(store.blobs.temporary.iterdir())


def test_a_model_that_is_made_from_is_pulled_from_its_registry(store: Store) -> None:
    with RegistryServer() as registry:
        registry.add_model("library/far", "latest", [(layers.MODEL, CRIA.read_bytes()), (layers.SYSTEM, b"far away")])
        name = f"http://{registry.host}/library/far"
        told: list[str] = []
        bring = partial(pull, store, report=lambda step: told.append(step.status), cancelled=threading.Event())
        create(store, CreateRequest("made", from_=name, parameters={"seed": 1}), pull=bring)
    assert told[0] == "pulling manifest"
    assert store.resolve("made").system == "far away"
