import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from puna.errors import InvalidRequest, PunaError
from puna.server import serve
from puna.server.security import host_allowed
from puna.server.serve import is_loopback
from tests.server.process import server_process

KEY = "sk-a-key"


@pytest.fixture(scope="module")
def guarded(models: Path) -> Iterator[str]:
    with server_process(models, api_key=KEY, PUNA_ORIGINS="https://app.example.org") as url:
        yield url


def test_a_key_opens_the_request_of_the_readme(guarded: str) -> None:
    """By curl: model, system and user messages, max_tokens, temperature and a Bearer key."""
    body = {
        "model": "cria",
        "messages": [{"role": "system", "content": "You are cria."}, {"role": "user", "content": "hi"}],
        "max_tokens": 20,
        "temperature": 0.7,
    }
    curl = ["curl", "-sS", "-w", "\n%{http_code}", f"{guarded}/v1/chat/completions"]
    key = ["-H", f"Authorization: Bearer {KEY}"]
    run = subprocess.run([*curl, *key, "-d", json.dumps(body)], capture_output=True, text=True, check=True)
    text, status = run.stdout.rsplit("\n", 1)
    assert status == "200"
    assert json.loads(text)["choices"][0]["message"]["content"]
    run = subprocess.run([*curl, "-d", json.dumps(body)], capture_output=True, text=True, check=True)
    assert run.stdout.endswith("401")
    streamed = json.dumps({**body, "stream": True})
    run = subprocess.run([*curl, *key, "-d", streamed], capture_output=True, text=True, check=True)
    assert "data: [DONE]\n\n" in run.stdout


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}", f"Bearer {KEY}x", "Bearer \xff"]
)
def test_without_the_right_key_nothing_is_told(guarded: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for path in ("/api/tags", "/api/version", "/v1/models", "/nope"):
        response = httpx.get(guarded + path, headers=headers)  # type: ignore[arg-type]
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        error = response.json()["error"]
        assert isinstance(error, dict if path.startswith("/v1") else str)


def test_the_heartbeat_needs_no_key(guarded: str) -> None:
    assert httpx.get(guarded).text == "Ollama is running"


def test_openais_client_knows_the_error(guarded: str) -> None:
    with openai.OpenAI(base_url=f"{guarded}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as error:
            client.models.list()
        assert error.value.code == "invalid_api_key"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:11434", "localhost.evil.example", "8.8.8.8", "[::ffff"])
def test_a_rebound_host_name_is_refused(http: httpx.Client, host: str) -> None:
    response = http.get("/api/tags", headers={"Host": host})
    assert response.status_code == 403
    assert response.text == ""


@pytest.mark.parametrize("host", ["localhost", "localhost:11434", "my.localhost", "nas.local", "127.0.0.1", "[::1]:1"])
def test_a_local_host_name_is_served(http: httpx.Client, host: str) -> None:
    assert http.get("/api/tags", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example", "null", "http://[", "x"])
def test_a_foreign_page_is_refused_and_cannot_read_the_answer(http: httpx.Client, origin: str) -> None:
    response = http.post("/api/chat", content=b"{}", headers={"Origin": origin})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "origin", ["http://localhost:3000", "https://127.0.0.1", "http://[::1]:8080", "app://obsidian.md"]
)
def test_a_local_page_passes_its_preflight_and_reads_our_headers(http: httpx.Client, origin: str) -> None:
    preflight = http.options(
        "/v1/chat/completions",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, x-stainless-os, x-stainless-new",
        },
    )
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == origin
    allowed = preflight.headers["access-control-allow-headers"].lower()
    for name in (
        "authorization",
        "content-type",
        "x-stainless-os",
        "x-stainless-new",
        "x-api-key",
        "anthropic-version",
    ):
        assert name in allowed
    answer = http.get("/v1/models", headers={"Origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    exposed = answer.headers["access-control-expose-headers"]
    for name in ("x-puna-context", "x-puna-warnings", "Retry-After", "request-id"):
        assert name in exposed


def test_a_page_elsewhere_that_was_allowed_may_reach_this_machine(guarded: str) -> None:
    """Chrome asks for that beyond CORS (Private Network Access)."""
    headers = {"Origin": "https://app.example.org", "Access-Control-Request-Private-Network": "true"}
    answer = httpx.options(guarded + "/api/chat", headers=headers)
    assert answer.headers["access-control-allow-private-network"] == "true"


def test_a_preflight_needs_no_key_and_origins_can_be_added(guarded: str) -> None:
    origin = {"Origin": "https://app.example.org"}
    assert httpx.options(guarded + "/api/chat", headers=origin).status_code == 204
    answer = httpx.get(guarded + "/api/tags", headers={**origin, "Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    assert httpx.get(guarded + "/", headers={"Origin": "https://appxexample.org"}).status_code == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_listening_beyond_loopback_needs_a_key(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PUNA_API_KEY", raising=False)
    with pytest.raises(InvalidRequest, match="without a key"):
        serve(host, 0)


def test_a_port_that_is_taken_is_an_error_that_says_so(url: str) -> None:
    with pytest.raises(PunaError, match="is another server running"):
        serve("127.0.0.1", int(url.rpartition(":")[2]))


@pytest.mark.parametrize(
    ("host", "loopback"), [("localhost", True), ("127.0.0.2", True), ("::1", True), ("0.0.0.0", False)]
)
def test_loopback_is_known_by_address_not_by_spelling(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_an_empty_host_is_allowed_as_http_1_0_sends_none() -> None:
    assert host_allowed("")
