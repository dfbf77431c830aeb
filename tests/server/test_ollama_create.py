"""/api/create and what comes of it: the model answers, is shown, and does as its layers say."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from puna.gguf import ValueType
from tests import minilm
from tests.gguf.files import gguf, key, text_key
from tests.store.ollama_store import CRIA

CRIA_DIGEST = f"sha256:{hashlib.sha256(CRIA.read_bytes()).hexdigest()}"


@pytest.fixture(autouse=True)
def _as_before(http: httpx.Client) -> Iterator[None]:
    """Other tests count on no more being there than what packages bring."""
    yield
    for model in http.get("/api/tags").json()["models"]:
        if model["name"] not in ("cria:latest", *minilm.NAMES):
            http.request("DELETE", "/api/delete", json={"model": model["name"]}).raise_for_status()


def create(http: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    reply = http.post("/api/create", json={"model": "made", **body})
    assert reply.status_code == 200, reply.text
    return [json.loads(line) for line in reply.text.splitlines()]


def prompt(http: httpx.Client, **body: Any) -> str:
    """What the model would see."""
    asked = {"model": "made", "messages": [{"role": "user", "content": "hi"}], "_debug_render_only": True, **body}
    reply = http.post("/api/chat", json=asked)
    assert reply.status_code == 200, reply.text
    text = reply.json()["_debug_info"]["rendered_template"]
    assert isinstance(text, str)
    return text


def test_a_model_made_of_another_is_told_in_lines_and_has_all_it_was_given(http: httpx.Client) -> None:
    lines = create(
        http,
        **{"from": "cria"},
        system="Be brief.",
        parameters={"num_ctx": 256, "stop": ["<a>"], "temperature": 0},
        messages=[{"role": "user", "content": "ping"}, {"role": "assistant", "content": "pong"}],
        license=["MIT", "BSD"],
        requires="0.14.0",
    )
    assert lines[-2:] == [{"status": "writing manifest"}, {"status": "success"}]
    assert lines[0]["status"].startswith(("creating new layer sha256:", "using existing layer sha256:"))
    shown = http.post("/api/show", json={"model": "made"}).json()
    assert shown["parameters"].splitlines() == [
        f"{'num_ctx':<30} 256",
        f'{"stop":<30} "<a>"',
        f"{'temperature':<30} 0",
    ]
    assert (shown["license"], shown["system"], shown["requires"]) == ("MIT\nBSD", "Be brief.", "0.14.0")
    assert [message["content"] for message in shown["messages"]] == ["ping", "pong"]
    assert shown["details"]["parent_model"] == "cria:latest"
    assert "\nSYSTEM Be brief.\n" in shown["modelfile"]
    assert "\n# FROM made:latest\n" in shown["modelfile"]


def test_the_layers_rule_what_the_model_sees_and_does(http: httpx.Client) -> None:
    messages = [{"role": "user", "content": "ping"}, {"role": "assistant", "content": "pong"}]
    create(http, **{"from": "cria"}, system="OWN", messages=messages, parameters={"num_predict": 2, "num_ctx": 512})
    text = prompt(http)
    assert text.index("OWN") < text.index("ping") < text.index("pong") < text.index("hi")
    given = prompt(http, messages=[{"role": "system", "content": "GIVEN"}, {"role": "user", "content": "hi"}])
    assert "OWN" not in given
    assert "GIVEN" in given
    asked = {"model": "made", "prompt": "hello", "stream": False}
    reply = http.post("/api/generate", json=asked).json()
    assert (reply["eval_count"], reply["done_reason"]) == (2, "length")
    assert reply["puna_context"]["limit"] == 512
    more = http.post("/api/generate", json={**asked, "options": {"num_predict": 3}}).json()
    assert more["eval_count"] == 3, "a request's option counts more than the model's"


def test_a_template_layer_is_in_force(http: httpx.Client) -> None:
    template = "{{ range .Messages }}[{{ .Role }}]{{ .Content }}{{ end }}[assistant]"
    create(http, **{"from": "cria"}, template=template)
    assert http.post("/api/show", json={"model": "made"}).json()["template"] == template
    assert prompt(http) == "[user]hi[assistant]"


def test_a_model_is_made_of_an_uploaded_file_and_answers(http: httpx.Client) -> None:
    assert http.post(f"/api/blobs/{CRIA_DIGEST}", content=CRIA.read_bytes()).status_code in (200, 201)
    lines = create(http, files={"some.gguf": CRIA_DIGEST}, parameters={"num_predict": 1})
    assert lines[:2] == [{"status": "parsing GGUF"}, {"status": f"using existing layer {CRIA_DIGEST}"}]
    assert http.post("/api/generate", json={"model": "made", "prompt": "a", "stream": False}).json()["done"]


def test_without_a_stream_the_reply_is_one_object_with_its_warnings(http: httpx.Client) -> None:
    body = {"model": "made", "from": "cria", "stream": False, "parameters": {"num_gpu": 1}, "bogus": 1}
    reply = http.post("/api/create", json=body)
    assert reply.json()["status"] == "success"
    assert [warning for warning in reply.json()["warnings"] if "num_gpu" in warning]
    assert "bogus" in reply.headers["x-puna-warnings"]
    both = http.post("/api/create", json={**body, "files": {"x.gguf": CRIA_DIGEST}}).json()
    assert "files has no effect beside from: it was ignored" in both["warnings"]
    strict = http.post("/api/create", json={**body, "puna": {"strict": True}})
    assert strict.status_code == 400


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "neither 'from' or 'files' was specified"),
        ({"files": {"x.gguf": "sha256:1"}}, "invalid digest format"),
        ({"files": {"../x": CRIA_DIGEST}}, "file path must be relative"),
        ({"from": "cria", "parameters": {"num_ctx": "many"}}, 'option "num_ctx" must be of type integer'),
        ({"from": "cria", "parameters": {"temperature": "hot"}}, 'option "temperature" must be of type float32'),
        ({"from": "cria", "parameters": {"stop": [1]}}, 'option "stop" must be of type array'),
        ({"from": "cria", "parameters": {"num_ctx": 1}}, "context_length must be at least 4"),
        ({"from": "cria", "template": "{{ .Prompt"}, "template error"),
        ({"from": "cria", "messages": [{"role": "robot"}]}, "robot"),
        ({"from": "cria", "quantize": "q9"}, "q9"),
        ({"from": "cria", "remote_host": "http://localhost"}, "remote_host is not supported"),
        ({"from": "cria", "requires": "x"}, "requires must be a valid semver (e.g. 0.14.0)"),
        ({"from": "cria", "info": {"base_name": 1}}, 'info field "base_name" must be a string'),
        ({"from": "/etc/passwd"}, "invalid model name"),
        ({"from": "cria", "model": "a b"}, "invalid model name"),
    ],
)
def test_a_wrong_request_is_a_400_that_names_what_is_wrong(
    http: httpx.Client, body: dict[str, Any], message: str
) -> None:
    reply = http.post("/api/create", json={"model": "made", **body})
    assert reply.status_code == 400, reply.text
    assert message in reply.json()["error"]


def test_a_path_in_a_request_is_never_opened(http: httpx.Client, tmp_path: Path) -> None:
    secret = tmp_path / "secret.gguf"
    secret.write_bytes(CRIA.read_bytes())
    for body in ({"from": str(secret)}, {"files": {str(secret): CRIA_DIGEST}}, {"files": {"x": str(secret)}}):
        assert http.post("/api/create", json={"model": "made", **body}).status_code == 400
    ignored = http.post("/api/create", json={"model": "made", "modelfile": f"FROM {secret}", "path": str(secret)})
    assert ignored.status_code == 400


def test_the_modelfile_that_is_shown_is_the_model(http: httpx.Client) -> None:
    create(http, **{"from": "cria"}, system='a "b"\n c ', parameters={"stop": [" x"], "seed": 3})
    shown = http.post("/api/show", json={"model": "made"}).json()["modelfile"]
    assert 'SYSTEM """a "b"\n c """\nPARAMETER seed 3\nPARAMETER stop " x"\n' in shown


def test_a_projector_is_shown_and_a_model_is_not_run_without_its_adapter(http: httpx.Client) -> None:
    projector = gguf([text_key("general.architecture", "clip"), key("clip.has_vision_encoder", ValueType.BOOL, b"\1")])
    kind = [text_key("general.type", "adapter"), text_key("adapter.type", "lora")]
    lora = gguf([text_key("general.architecture", "qwen2"), *kind])
    files = {}
    for name, content in (("model.gguf", CRIA.read_bytes()), ("mmproj.gguf", projector), ("lora.gguf", lora)):
        files[name] = f"sha256:{hashlib.sha256(content).hexdigest()}"
        http.post(f"/api/blobs/{files[name]}", content=content).raise_for_status()
    adapter = {"lora.gguf": files.pop("lora.gguf")}
    create(http, files=files)
    shown = http.post("/api/show", json={"model": "made"}).json()
    assert shown["projector_info"]["clip.has_vision_encoder"] is True
    assert any("projector" in warning for warning in shown["warnings"])
    lines = create(http, files=files, adapters=adapter)
    assert lines[-1]["status"] == "success"
    assert "ADAPTER " in http.post("/api/show", json={"model": "made"}).json()["modelfile"]
    refused = http.post("/api/generate", json={"model": "made", "prompt": "hi"})
    assert refused.status_code >= 400
    assert "an adapter of 'qwen2', and the model is" in refused.json()["error"]
