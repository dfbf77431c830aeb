"""`puna serve`: one server that speaks Ollama's API and OpenAI's. Here are the options; the rest is `puna.server`."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on, as in PUNA_HOST: host or host:port. (127.0.0.1)")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one. (11434)", metavar="PORT")
    ] = None,
    api_key: Annotated[
        str | None,
        typer.Option(help="Bearer key to ask for; PUNA_API_KEY hides it from other users' process lists."),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Ask nobody for a key, even where other machines reach the server.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse requests of which something would be ignored.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more.")] = False,
) -> None:
    """Serve Ollama's and OpenAI's APIs until Ctrl-C."""
    from puna import paths
    from puna.server import serve as run_server

    address = paths.parse_address(host) if host else paths.address()
    run_server(
        address.host,
        address.port if port is None else port,
        api_key=api_key,
        no_auth=no_auth,
        strict=strict,
        log_level="debug" if verbose else "info",
        on_ready=lambda url: typer.echo(f"Puna is listening on {url} (Ollama's API at /api, OpenAI's at /v1)"),
    )
