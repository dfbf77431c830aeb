from typing import Any

import httpx
import numpy as np
import pytest

NULLS = dict.fromkeys(("mirostat", "mirostat_eta", "num_ctx", "num_gpu", "stop", "temperature", "top_k"))


def embed(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = http.post("/api/embed", json={"model": "cria", **fields})
    assert response.status_code == 200, response.text
    return dict(response.json())


def test_each_input_has_a_unit_vector_in_its_place(http: httpx.Client) -> None:
    reply = embed(http, input=["hi", "who are you?", "hi"], options=NULLS)
    vectors = np.array(reply["embeddings"])
    assert vectors.shape == (3, 256)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert reply["total_duration"] > 0
    assert reply["prompt_eval_count"] > 3
    assert "warnings" not in reply
    [one] = embed(http, input="hi")["embeddings"]
    np.testing.assert_allclose(one, vectors[0], atol=1e-6)


@pytest.mark.parametrize("nothing", [{}, {"input": ""}, {"input": []}, {"input": None}])
def test_no_input_loads_the_model_and_gives_no_vectors(http: httpx.Client, nothing: dict[str, Any]) -> None:
    assert embed(http, **nothing)["embeddings"] == []


def test_dimensions_cut_a_vector_to_a_shorter_unit_vector(http: httpx.Client) -> None:
    [whole], [cut] = embed(http, input="hi")["embeddings"], embed(http, input="hi", dimensions=16)["embeddings"]
    np.testing.assert_allclose(cut, np.array(whole[:16]) / np.linalg.norm(whole[:16]), atol=1e-6)


def test_what_is_too_long_is_cut_and_reported_or_refused(http: httpx.Client) -> None:
    long = "word " * 3000
    reply = embed(http, input=["hi", long])
    assert reply["truncated"] == [1]
    assert any("input 1" in warning for warning in reply["warnings"])
    refused = http.post("/api/embed", json={"model": "cria", "input": long, "truncate": False})
    assert refused.status_code == 400
    assert "exceeds the context length" in refused.json()["error"]


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings", "/v1/embeddings"])
def test_a_context_asked_for_is_where_a_text_is_cut(http: httpx.Client, path: str) -> None:
    body: dict[str, Any] = {
        "model": "cria",
        "input": "one two three four five six",
        "prompt": "one two three four five",
    }
    field = {"num_ctx": 4} if path.startswith("/v1") else {"options": {"num_ctx": 4}}
    del body["input" if path == "/api/embeddings" else "prompt"]
    reply = http.post(path, json={**body, **field}).json()
    warnings = reply["warnings"] if "warnings" in reply else reply["puna"]["warnings"]
    assert any("input 0 was cut" in warning for warning in warnings)
    if path == "/api/embed":
        assert (reply["truncated"], reply["prompt_eval_count"]) == ([0], 4)
    too_long = {"num_ctx": 1 << 20} if path.startswith("/v1") else {"options": {"num_ctx": 1 << 20}}
    assert "context length 1048576" in http.post(path, json={**body, **too_long}).headers["x-puna-warnings"]
    too_short = {"num_ctx": 3} if path.startswith("/v1") else {"options": {"num_ctx": 3}}
    assert http.post(path, json={**body, **too_short}).status_code == 400


def test_the_old_route_gives_one_vector(http: httpx.Client) -> None:
    reply = http.post("/api/embeddings", json={"model": "cria", "prompt": "hi", "options": NULLS}).json()
    assert list(reply) == ["embedding"]
    np.testing.assert_allclose(reply["embedding"], embed(http, input="hi")["embeddings"][0], atol=1e-6)
    assert http.post("/api/embeddings", json={"model": "cria"}).json() == {"embedding": []}


def test_options_without_effect_are_told(http: httpx.Client) -> None:
    response = http.post("/api/embed", json={"model": "cria", "input": "hi", "options": {"temperature": 1}, "bogus": 1})
    for word in ("temperature", "bogus"):
        assert any(word in warning for warning in response.json()["warnings"])
    assert "x-puna-warnings" in response.headers


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/api/embed", {"model": "cria", "input": 3}, 400, "invalid input type"),
        ("/api/embed", {"model": "cria", "input": ["hi", 3]}, 400, "input"),
        ("/api/embed", {"model": "cria", "input": "hi", "dimensions": -1}, 400, "dimensions"),
        ("/api/embed", {"input": "hi"}, 400, "model is required"),
        ("/api/embed", {"model": "nope", "input": "hi"}, 404, "not found"),
        ("/api/embed", {"model": "nope"}, 404, "not found"),
        ("/api/embeddings", {"model": "nope", "prompt": "hi"}, 404, "not found"),
    ],
)
def test_errors_have_ollamas_shape(
    http: httpx.Client, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    response = http.post(path, json=body)
    assert response.status_code == status
    assert set(response.json()) == {"error"}
    assert message in response.json()["error"]
