"""API keys on a real server: who may do what, in every dialect's shape, and what is left on the disk."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.errors import InvalidRequest, PunaError
from puna.server.accounts import Accounts
from puna.server.database import Database
from puna.server.keys import PREFIX, Key, Keys, canonical
from tests.server.process import server_process

Tokens = dict[str, str]
CHAT = {"model": "cria", "messages": [{"role": "user", "content": "hi"}], "stream": False, "max_tokens": 5}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def tokens(data: Path) -> Tokens:
    with Accounts(data / "accounts.db") as accounts:
        keys = accounts.keys
        return {
            "all": keys.create("all"),
            "cria": keys.create("cria", models=["cria*"]),
            "other": keys.create("other", models=["qwen*"]),
            "openai": keys.create("openai", routes=["/v1/*"]),
            "metrics": keys.create("metrics", routes=["/metrics"]),
            "poor": keys.create("poor", budget=5),
        }


@pytest.fixture(scope="module")
def locked(models: Path, data: Path, tokens: Tokens) -> Iterator[httpx.Client]:
    """A server whose keys are those of the file."""
    assert tokens
    with server_process(models, data=data) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("path", ["/api/tags", "/v1/models", "/metrics", "/api/usage", "/docs", "/openapi.json"])
def test_once_there_is_a_key_nothing_opens_without_one(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 401
    assert locked.get(path, headers=bearer("sk-wrong")).status_code == 401


@pytest.mark.parametrize("path", ["/", "/health"])
def test_a_heartbeat_needs_no_key(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_anthropics_header_opens_too(locked: httpx.Client, tokens: Tokens) -> None:
    assert locked.get("/v1/models", headers={"x-api-key": tokens["all"]}).status_code == 200
    assert locked.get("/v1/models", headers={"x-api-key": "sk-wrong"}).status_code == 401


def test_a_refusal_has_the_shape_of_its_dialect(locked: httpx.Client, tokens: Tokens) -> None:
    for headers, status in (({}, 401), (bearer(tokens["other"]), 403)):
        answers = {
            path: locked.post(path, json=CHAT, headers=headers)
            for path in ("/api/chat", "/v1/chat/completions", "/v1/messages")
        }
        assert {answer.status_code for answer in answers.values()} == {status}
        assert isinstance(answers["/api/chat"].json()["error"], str)
        assert answers["/v1/chat/completions"].json()["error"]["message"]
        assert answers["/v1/messages"].json()["type"] == "error"


def test_openais_client_knows_what_is_forbidden(locked: httpx.Client, tokens: Tokens) -> None:
    with (
        openai.OpenAI(base_url=f"{locked.base_url}/v1", api_key=tokens["other"], max_retries=0) as client,
        pytest.raises(openai.PermissionDeniedError, match="may not use the model 'cria'"),
    ):
        client.chat.completions.create(model="cria", messages=[{"role": "user", "content": "hi"}])


@pytest.mark.parametrize(
    "name", ["cria", "CRIA", "cria:latest", "library/cria", "registry.ollama.ai/library/Cria:LATEST"]
)
def test_no_spelling_of_a_name_goes_around_a_key(locked: httpx.Client, tokens: Tokens, name: str) -> None:
    body = {**CHAT, "model": name}
    assert locked.post("/v1/chat/completions", json=body, headers=bearer(tokens["cria"])).status_code == 200
    assert locked.post("/v1/chat/completions", json=body, headers=bearer(tokens["other"])).status_code == 403


def test_every_route_that_takes_a_model_asks_the_key(locked: httpx.Client, tokens: Tokens) -> None:
    document = locked.get("/openapi.json", headers=bearer(tokens["all"])).json()
    schemas = document["components"]["schemas"]
    asked = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None:
                continue
            fields = schemas[content["schema"]["$ref"].rpartition("/")[2]]["properties"]
            if "model" in fields:
                # Whatever else is wrong with the request: what a key may not use, it learns nothing of.
                answer = locked.request(method, path, json={"model": "cria"}, headers=bearer(tokens["other"]))
                assert answer.status_code == 403, path
                asked += 1
    assert asked >= 8
    assert locked.get("/v1/models/cria", headers=bearer(tokens["other"])).status_code == 403


def test_no_model_of_files_or_of_a_forbidden_model_goes_around_a_key(locked: httpx.Client, tokens: Tokens) -> None:
    mine = {"model": "qwen-mine"}
    for body in ({**mine, "from": "cria"}, {**mine, "files": {"x.gguf": f"sha256:{'a' * 64}"}}):
        assert locked.post("/api/create", json=body, headers=bearer(tokens["other"])).status_code == 403


def test_lists_show_what_the_key_may_use(locked: httpx.Client, tokens: Tokens) -> None:
    locked.post("/api/generate", json={"model": "cria"}, headers=bearer(tokens["all"])).raise_for_status()
    for path, field in (("/api/tags", "models"), ("/api/ps", "models"), ("/v1/models", "data")):
        assert locked.get(path, headers=bearer(tokens["cria"])).json()[field], path
        assert locked.get(path, headers=bearer(tokens["other"])).json()[field] == [], path


def test_an_error_names_no_model_that_the_key_may_not_use(locked: httpx.Client, tokens: Tokens) -> None:
    for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
        answer = locked.post(path, json={**CHAT, "model": "qwen3"}, headers=bearer(tokens["other"]))
        assert answer.status_code == 404
        assert "cria" not in answer.text
    assert "cria" in locked.post("/api/chat", json={**CHAT, "model": "qwen3"}, headers=bearer(tokens["all"])).text


def test_a_key_for_some_routes_opens_no_other(locked: httpx.Client, tokens: Tokens) -> None:
    for path in ("/v1/models", "/v1/models/cria"):
        assert locked.get(path, headers=bearer(tokens["openai"])).status_code == 200
    for path in ("/api/tags", "/metrics", "//v1/models", "/V1/models", "/v1/../api/tags", "/v1/%2e%2e/api/tags"):
        assert locked.get(path, headers=bearer(tokens["openai"])).status_code in (403, 404), path


def test_metrics_tell_of_all_keys_and_open_only_to_a_key_for_them(locked: httpx.Client, tokens: Tokens) -> None:
    assert locked.get("/metrics", headers=bearer(tokens["all"])).status_code == 403
    assert locked.get("/metrics", headers=bearer(tokens["metrics"])).status_code == 200
    assert locked.get("/api/tags", headers=bearer(tokens["metrics"])).status_code == 403


def test_a_budget_used_up_is_429_until_the_day_ends(locked: httpx.Client, tokens: Tokens) -> None:
    headers = bearer(tokens["poor"])
    assert locked.post("/api/chat", json=CHAT, headers=headers).status_code == 200
    for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
        answer = locked.post(path, json=CHAT, headers=headers)
        assert answer.status_code == 429, path
        assert 1 <= int(answer.headers["retry-after"]) <= 86400
    assert locked.get("/api/tags", headers=headers).status_code == 200  # what costs nothing goes on
    assert locked.post("/api/chat", json=CHAT, headers=bearer(tokens["all"])).status_code == 200


def test_usage_is_each_keys_own(locked: httpx.Client, tokens: Tokens) -> None:
    chat = {**CHAT, "stream": True}
    with locked.stream("POST", "/api/chat", json=chat, headers=bearer(tokens["cria"])) as answer:
        assert answer.read()
    usage = locked.get("/api/usage", headers=bearer(tokens["cria"])).json()
    assert {entry["key"] for entry in usage["usage"]} == {"cria"}
    assert usage["total"]["generated_tokens"] > 0
    assert usage["today"]["budget_tokens"] is None
    assert locked.get("/api/usage", headers=bearer(tokens["other"])).json()["usage"] == []


def test_a_key_made_now_opens_and_a_revoked_one_stops_within_a_second(locked: httpx.Client, data: Path) -> None:
    with Accounts(data / "accounts.db") as accounts:
        token = accounts.keys.create("short")
        time.sleep(1.0)
        assert locked.get("/api/version", headers=bearer(token)).status_code == 200
        accounts.keys.revoke("short")
    time.sleep(1.0)
    assert locked.get("/api/version", headers=bearer(token)).status_code == 401


def test_wrong_keys_do_not_reach_the_file(locked: httpx.Client, tokens: Tokens) -> None:
    """Each would cost a read of it, and whoever sends many would hold up everybody."""

    def seconds(headers: dict[str, str]) -> float:
        started = time.monotonic()
        for _ in range(50):
            locked.get("/api/version", headers=headers)
        return time.monotonic() - started

    right, wrong = (min(seconds(bearer(key)) for _ in range(3)) for key in (tokens["all"], "sk-puna-" + "x" * 40))
    assert wrong < 3 * right


def test_an_open_server_asks_for_a_key_once_there_is_one_and_stays_shut(models: Path, tmp_path: Path) -> None:
    """Where the last key was revoked, nobody meant to open it to all."""
    with server_process(models, data=tmp_path) as url, Accounts(tmp_path / "accounts.db") as accounts:
        assert httpx.get(f"{url}/api/version").status_code == 200
        token = accounts.keys.create("first")
        time.sleep(1.0)
        assert httpx.get(f"{url}/api/version").status_code == 401
        assert httpx.get(f"{url}/api/version", headers=bearer(token)).status_code == 200
        accounts.keys.revoke("first")
        time.sleep(1.0)
        assert httpx.get(f"{url}/api/version", headers=bearer(token)).status_code == 401
        assert httpx.get(f"{url}/api/version").status_code == 401


def test_the_file_holds_no_key(tmp_path: Path) -> None:
    with Accounts(tmp_path / "accounts.db") as accounts:
        token = accounts.keys.create("ada", models=["a", "b"], routes=["/v1/*"], budget=7)
        [key] = accounts.keys.list()
        assert (key.name, key.models, key.routes, key.budget, key.revoked) == ("ada", ("a", "b"), ("/v1/*",), 7, None)
    for file in tmp_path.iterdir():
        assert token.removeprefix(PREFIX).encode() not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0, "others can read it"


def test_processes_make_and_revoke_keys_at_once(tmp_path: Path) -> None:
    """Each has a connection of its own; none finds the file locked, none is lost."""

    def work(number: int) -> None:
        with Accounts(tmp_path / "accounts.db") as accounts:
            for index in range(5):
                accounts.keys.create(f"k{number}.{index}")
            accounts.keys.revoke(f"k{number}.0")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    with Accounts(tmp_path / "accounts.db") as accounts:
        keys = accounts.keys.list()
    assert len(keys) == 30
    assert sum(key.revoked is not None for key in keys) == 6


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\nb", "x" * 65, "ä"])
def test_a_malformed_name_is_refused(name: str) -> None:
    with Accounts(None) as accounts, pytest.raises(InvalidRequest, match="cannot name a key"):
        accounts.keys.create(name)


def test_a_name_is_not_used_twice_even_after_it_was_revoked() -> None:
    """Its usage would be counted for somebody else."""
    with Accounts(None) as accounts:
        accounts.keys.create("ada")
        accounts.keys.revoke("ada")
        with pytest.raises(InvalidRequest, match="there is or was"):
            accounts.keys.create("ada")
        with pytest.raises(InvalidRequest, match="no key 'ada'"):
            accounts.keys.revoke("ada")


@pytest.mark.parametrize(
    ("arguments", "message"), [({"budget": 0}, "at least 1"), ({"routes": ["v1"]}, "begin with /")]
)
def test_a_key_that_could_open_nothing_is_refused(arguments: dict[str, object], message: str) -> None:
    with Accounts(None) as accounts, pytest.raises(InvalidRequest, match=message):
        accounts.keys.create("ada", **arguments)  # type: ignore[arg-type]


def test_a_file_that_is_none_or_of_the_future_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "accounts.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(PunaError, match=r"cannot open .*accounts\.db.*PUNA_DATA"):
        Database(path)
    path.unlink()
    Database(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(PunaError, match="newer version"):
        Database(path)


@given(st.text(max_size=40), st.text(max_size=10))
def test_what_is_allowed_does_not_depend_on_the_spelling(model: str, pattern: str) -> None:
    key = Key("ada", models=(pattern,))
    assert key.may_use(model) == key.may_use(canonical(model))
    assert Key("ada").may_use(model)


def test_names_and_patterns_of_a_key_survive_the_file() -> None:
    with Accounts(None) as accounts:
        assert isinstance(accounts.keys, Keys)
        accounts.keys.create("ada", models=["hf.co/someone/*", "qwen3:[48]b"])
        [key] = accounts.keys.list()
    assert key.may_use("hf.co/Someone/Model:Q4_K_M")
    assert key.may_use("qwen3:4b")
    assert not key.may_use("qwen3:14b")
