"""Whose files and vector stores are whose."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from puna.server.accounts import Accounts
from tests.server.process import server_process


def test_a_key_sees_its_own_files_and_stores_and_the_operator_all(models: Path, tmp_path: Path) -> None:
    with Accounts(tmp_path / "accounts.db") as accounts:
        ada, bob = (accounts.keys.create(name) for name in ("ada", "bob"))
    with server_process(models, api_key="operator", data=tmp_path) as url:
        clients = {
            name: httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
            for name, key in (("ada", ada), ("bob", bob), ("operator", "operator"))
        }
        form = {"files": {"file": ("a.txt", b"secret words")}, "data": {"purpose": "assistants"}}
        file = clients["ada"].post("/v1/files", **form).json()["id"]  # type: ignore[arg-type]
        store = clients["ada"].post("/v1/vector_stores", json={"name": "mine", "file_ids": [file]}).json()["id"]
        for path in (f"/v1/files/{file}", f"/v1/files/{file}/content", f"/v1/vector_stores/{store}"):
            statuses = {name: client.get(path).status_code for name, client in clients.items()}
            assert statuses == {"ada": 200, "bob": 404, "operator": 200}, path
        assert clients["bob"].delete(f"/v1/files/{file}").status_code == 404
        assert clients["bob"].post(f"/v1/vector_stores/{store}/search", json={"query": "secret"}).status_code == 404
        other = clients["bob"].post("/v1/vector_stores", json={"name": "his"}).json()["id"]
        stolen = clients["bob"].post(f"/v1/vector_stores/{other}/files", json={"file_id": file})
        assert stolen.status_code == 404
        listed = {name: len(client.get("/v1/vector_stores").json()["data"]) for name, client in clients.items()}
        assert listed == {"ada": 1, "bob": 1, "operator": 2}
        for client in clients.values():
            client.close()


@pytest.mark.parametrize("file_id", ["..", "file-..%2f..", "file-" + "0" * 32, "%2e%2e%2faccounts.db"])
def test_no_id_leads_out_of_the_folder(http: httpx.Client, file_id: str) -> None:
    assert http.get(f"/v1/files/{file_id}/content").status_code == 404
