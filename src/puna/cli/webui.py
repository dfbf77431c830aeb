"""`puna webui`: Open WebUI, the real one, as a process wired to a Puna server; a server is started where none runs.

Knows Open WebUI by its command and its environment variables alone (https://docs.openwebui.com, "Environment
Configuration"); nothing of it is imported.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from puna.client import Client

EMBEDDER = "all-minilm"  # what documents are embedded with
SERVER_SECONDS = 30.0  # a server that was started answers within them


def webui(
    host: Annotated[str, typer.Option(help="Address to listen on; beyond 127.0.0.1 it asks for a sign-in.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.", metavar="PORT")] = 3080,
    embedder: Annotated[str, typer.Option(help="The model that embeds documents.", metavar="MODEL")] = EMBEDDER,
) -> None:
    """Start Open WebUI, wired to the running server; without one, a server too. Until Ctrl-C.

    Conversations, accounts and documents are kept in PUNA_DATA.
    """
    from puna import paths
    from puna.errors import MissingExtra
    from puna.server.serve import is_loopback

    if find_spec("open_webui") is None:
        raise MissingExtra("Open WebUI is not installed; `pip install 'puna[webui]'` brings it (some 3 GB)")
    sign_in = not is_loopback(host)
    folder = data_folder(paths.data_dir(), sign_in=sign_in)
    folder.mkdir(parents=True, exist_ok=True)
    with _server() as url:
        typer.echo(f"Open WebUI will listen on http://{host}:{port}, with the models of {url}", err=True)
        environment = open_webui_environment(url, folder, key=paths.API_KEY.get(), sign_in=sign_in, embedder=embedder)
        # The module, not the command: a script of another environment may come first on PATH.
        command = [sys.executable, "-c", "from open_webui import app; app()", "serve"]
        _wait(subprocess.Popen([*command, "--host", host, "--port", str(port)], env=environment, cwd=folder))


def data_folder(data: Path, *, sign_in: bool) -> Path:
    """Where Open WebUI keeps what it keeps.

    Without a sign-in it makes an administrator whose password is known to all: other machines never meet that account.
    """
    return data / ("webui-accounts" if sign_in else "webui")


def open_webui_environment(
    url: str, folder: Path, *, key: str | None, sign_in: bool, embedder: str
) -> Mapping[str, str]:
    """The variables with which Open WebUI finds everything at the server `url` and asks no hub for anything.

    What the user has set stands. `folder` is where it keeps what it keeps; `key` is the server's, if it wants one.
    """
    ours = {
        "OLLAMA_BASE_URL": url,
        "OLLAMA_API_CONFIGS": json.dumps({"0": {"enable": True, "key": key}} if key else {}),
        "ENABLE_OPENAI_API": "False",  # the same models once more
        "RAG_EMBEDDING_ENGINE": "ollama",
        "RAG_OLLAMA_BASE_URL": url,
        "RAG_OLLAMA_API_KEY": key or "",
        "RAG_EMBEDDING_MODEL": embedder,
        "DATA_DIR": str(folder),
        "WEBUI_SECRET_KEY": _secret(folder / "secret_key"),
        "WEBUI_AUTH": str(sign_in),
        "OFFLINE_MODE": "True",
        "ANONYMIZED_TELEMETRY": "False",
        "DO_NOT_TRACK": "True",
        "SCARF_NO_ANALYTICS": "True",
    }
    return ours | os.environ


def _secret(path: Path) -> str:
    """What sessions are signed with: made once, readable by the user alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii")
    secret = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret)
    return secret


@contextmanager
def _server() -> Iterator[str]:
    """The address of the running server, or of one that runs until the end of this."""
    from puna.client import Client
    from puna.errors import ServerUnreachable

    with Client() as client:
        try:
            client.version()
        except ServerUnreachable:
            pass
        else:
            yield client.url
            return
        server = subprocess.Popen([sys.executable, "-m", "puna", "serve"])
        try:
            _wait_for(client, server)
            yield client.url
        finally:
            server.terminate()
            server.wait()


def _wait_for(client: Client, server: subprocess.Popen[bytes]) -> None:
    """Return when the server answers. Raises ServerUnreachable when it ends, or is silent for too long."""
    from puna.errors import ServerUnreachable

    end = time.monotonic() + SERVER_SECONDS
    while True:
        try:
            client.version()
            return
        except ServerUnreachable:
            if server.poll() is not None:
                raise ServerUnreachable("the server that was started for Open WebUI ended; see above") from None
            if time.monotonic() > end:
                raise
        time.sleep(0.1)


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Wait for Open WebUI to end, and end as it did. Ctrl-C reaches it by itself, as it does us."""
    while True:
        try:
            status = process.wait()
            break
        except KeyboardInterrupt:
            continue
    if status not in (0, -signal.SIGINT, 128 + signal.SIGINT):
        raise typer.Exit(1)
