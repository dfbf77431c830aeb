"""`python scripts/check_open_webui.py`: the real Open WebUI, started by `puna webui`, works with Puna.

Needs the extra `webui`. Starts both on free ports with folders of their own, and checks over HTTP, as Open WebUI's
page would: nobody signs in, the models are listed, a chat is streamed, a document is embedded and asked about.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

START_SECONDS = 240.0
DOCUMENT = "The lighthouse of Sel Rock was painted green in the spring of 1931 by Tomas Orell."


def main() -> None:
    """Run all checks; a failed one raises."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="cria")
    parser.add_argument("--embedder", default="all-minilm")
    args = parser.parse_args()
    with _open_webui(args.embedder) as url, httpx.Client(base_url=url, timeout=120) as http:
        http.headers["Authorization"] = f"Bearer {_token(http)}"
        models = [model["id"] for model in http.get("/api/models").raise_for_status().json()["data"]]
        assert f"{args.model}:latest" in models, models
        print("models:", ", ".join(models))
        print("chat:", _chat(http, f"{args.model}:latest", "你会说中文吗"))
        document = _upload(http)
        found = _query(http, document, "Who painted the lighthouse?")
        assert DOCUMENT in found, found
        print("document:", found)
        print("answer:", _chat(http, f"{args.model}:latest", "Who painted the lighthouse?", document))


@contextmanager
def _open_webui(embedder: str) -> Iterator[str]:
    """Its address, once it answers; it and its server end with this."""
    ours, theirs = _free_port(), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PUNA_HOST": f"127.0.0.1:{ours}", "PUNA_DATA": folder}
        command = [sys.executable, "-m", "puna", "webui", "--port", str(theirs), "--embedder", embedder]
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{theirs}"
            _wait_for(url, process)
            yield url
        finally:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
            process.wait(timeout=60)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    start = time.monotonic()
    while time.monotonic() - start < START_SECONDS:
        assert process.poll() is None, "it ended"
        try:
            httpx.get(f"{url}/health").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.5)
        else:
            print(f"up after {time.monotonic() - start:.0f} s")
            return
    raise TimeoutError(url)


def _token(http: httpx.Client) -> str:
    """What the page gets without anybody signing in."""
    answer = http.post("/api/v1/auths/signin", json={"email": "", "password": ""}).raise_for_status()
    return str(answer.json()["token"])


def _chat(http: httpx.Client, model: str, question: str, document: str | None = None) -> str:
    """The streamed answer."""
    body = {"model": model, "messages": [{"role": "user", "content": question}], "stream": True}
    if document is not None:
        body["files"] = [{"type": "file", "id": document}]
    pieces, done = [], False
    with http.stream("POST", "/api/chat/completions", json=body) as stream:
        assert stream.status_code == 200, stream.read()
        for line in stream.iter_lines():
            data = line.removeprefix("data:").strip()
            done = done or data == "[DONE]"
            if data.startswith("{"):
                pieces += [choice["delta"].get("content") or "" for choice in json.loads(data).get("choices", [])]
    assert done, pieces
    assert len(pieces) > 1, pieces
    return "".join(pieces)


def _upload(http: httpx.Client) -> str:
    """Give Open WebUI a document; its id, once it is embedded."""
    answer = http.post("/api/v1/files/", files={"file": ("lighthouse.txt", DOCUMENT, "text/plain")}).raise_for_status()
    identity = str(answer.json()["id"])
    for _ in range(240):
        status = http.get(f"/api/v1/files/{identity}/process/status").raise_for_status().json()
        if status["status"] == "completed":
            return identity
        assert status["status"] in ("pending", "processing"), status
        time.sleep(0.5)
    raise TimeoutError(identity)


def _query(http: httpx.Client, document: str, question: str) -> str:
    """The passages that are found for a question."""
    body = {"collection_names": [f"file-{document}"], "query": question, "k": 1}
    found = http.post("/api/v1/retrieval/query/collection", json=body).raise_for_status().json()
    return "\n".join(found["documents"][0])


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    main()
