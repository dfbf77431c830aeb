"""`puna list`, `puna show`, `puna ps`, `puna stop`: what models there are, and which of them a server has loaded.

`list` and `show` read the store themselves; `ps` and `stop` ask the running server.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_age, human_size, table

if TYPE_CHECKING:
    from puna.client import LoadedModel
    from puna.runtime import TextModel

ID_DIGITS = 12

Model = Annotated[str, typer.Argument(help="A name, or the path of a GGUF file or a Hugging Face folder.")]


def list_models(
    prefix: Annotated[str, typer.Argument(metavar="[PREFIX]", help="Only names that begin so.")] = "",
) -> None:
    """List the models on this machine."""
    from puna.store import Store

    now = datetime.now(UTC)
    rows = [
        (model.name, model.digest[:ID_DIGITS], human_size(model.size), human_age(model.modified, now))
        for model in Store().list()
        if model.name.lower().startswith(prefix.lower())
    ]
    typer.echo(table(("NAME", "ID", "SIZE", "MODIFIED"), rows))


def show(
    model: Model,
    template: Annotated[bool, typer.Option("--template", help="Only its chat template (Jinja).")] = False,
    system: Annotated[bool, typer.Option("--system", help="Only its system message.")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Only its own parameters.")] = False,
    license: Annotated[bool, typer.Option("--license", help="Only its license.")] = False,  # noqa: A002
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also all metadata and tensors.")] = False,
) -> None:
    """Show what a model is."""
    if template + system + parameters + license > 1:
        raise typer.BadParameter("give one of --template, --system, --parameters and --license")

    from puna.runtime import TextModel
    from puna.store import Store

    local = Store().resolve(model)
    if system:
        typer.echo(local.system or "")
    elif parameters:
        typer.echo("\n".join(parameter_lines(local.parameters or {})))
    elif license:
        typer.echo("\n\n".join(local.licenses))
    elif template:
        typer.echo(TextModel.open(local).template_source)
    else:
        typer.echo("\n\n".join(_sections(TextModel.open(local), verbose)))


def ps() -> None:
    """List the models that the running server has loaded."""
    from puna.client import Client

    now = datetime.now(UTC)
    with Client() as client:
        rows = [_ps_row(model, now) for model in client.loaded()]
    typer.echo(table(("NAME", "ID", "SIZE", "PROCESSOR", "CONTEXT", "UNTIL"), rows))


def stop(model: Annotated[str, typer.Argument(help="A name that `puna ps` shows.")]) -> None:
    """Unload a model from the running server."""
    from puna.client import Client

    with Client() as client:
        client.stop(model)


def parameter_lines(parameters: Mapping[str, object]) -> list[str]:
    """`name    value`, one line for each value of a list, texts in quotes: Ollama's form."""
    return [
        f"{name:<30} {_quoted(value)}"
        for name, values in parameters.items()
        for value in (values if isinstance(values, list | tuple) else [values])
    ]


def _quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def _ps_row(model: LoadedModel, now: datetime) -> tuple[str, ...]:
    until = "Forever" if model.expires_at is None else human_age(model.expires_at, now)
    share = round(100 * model.size_vram / model.size) if model.size else 0
    processor = {0: "100% CPU", 100: "100% GPU"}.get(share, f"{100 - share}%/{share}% CPU/GPU")
    size, context = human_size(model.size), str(model.context_length)
    return model.name, model.digest[:ID_DIGITS], size, processor, context, until


def _sections(model: TextModel, verbose: bool) -> list[str]:
    """`  Title` and under it lines of name and value, as Ollama's `show`."""
    config, local = model.config, model.local
    facts = {
        "architecture": config.architecture,
        "parameters": local.details.parameter_size,
        "context length": config.context_length,
        "embedding length": config.embedding_length,
        "quantization": config.file_type,
        "size": human_size(local.size),
        "file": local.path,
    }
    sections = [_section("Model", [f"{name:<20}{value}" for name, value in facts.items()])]
    if local.parameters:
        sections.append(_section("Parameters", parameter_lines(local.parameters)))
    if local.system:
        sections.append(_section("System", local.system.splitlines()))
    if local.licenses:
        sections.append(_section("License", [line for text in local.licenses for line in text.splitlines()[:2]]))
    if model.warnings:
        sections.append(_section("Warnings", model.warnings))
    return sections + (_file_sections(model) if verbose else [])


def _section(title: str, lines: list[str] | tuple[str, ...]) -> str:
    return "\n".join([f"  {title}", *(f"    {line}" for line in lines)])


def _file_sections(model: TextModel) -> list[str]:
    """All metadata (long values shortened, with their lengths) and tensors of the model file."""
    from puna.gguf import open_model

    file = open_model(model.local.path)
    try:
        metadata = [f"{key:<40} {_shortened(value)}" for key, value in file.metadata.items()]
        tensors = [f"{t.name:<40} {t.type.name:<8} {'x'.join(map(str, t.shape))}" for t in file.tensors.values()]
    finally:
        file.close()
    return [_section("Metadata", metadata), _section("Tensors (rows x columns)", tensors)]


def _shortened(value: object, limit: int = 60) -> str:
    if isinstance(value, str):
        return repr(value) if len(value) <= limit else f"{value[:limit]!r}... ({len(value)} characters)"
    if hasattr(value, "__len__"):
        return f"{str(value)[:limit]}... ({len(value)} values)" if len(value) > 5 else str(value)
    return str(value)
