"""`puna show`: what a model is, read from the store itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_size, terminal_safe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from puna.runtime import TextModel

GO_TEMPLATE = "the model's own layer, in Go's template language"
JINJA_TEMPLATE = "inside the model file, in Jinja"
NO_TEMPLATE = "none: messages are joined by blank lines"


def show(
    model: Annotated[str, typer.Argument(help="A name, or the path of a GGUF file or a Hugging Face folder.")],
    modelfile: Annotated[bool, typer.Option("--modelfile", help="Only the Modelfile that makes it again.")] = False,
    template: Annotated[bool, typer.Option("--template", help="Only the template that its prompts follow.")] = False,
    system: Annotated[bool, typer.Option("--system", help="Only its system message.")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Only its own parameters.")] = False,
    license: Annotated[bool, typer.Option("--license", help="Only its license.")] = False,  # noqa: A002
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Also all metadata and tensors.")] = False,
) -> None:
    """Show what a model is."""
    if modelfile + template + system + parameters + license > 1:
        raise typer.BadParameter(
            "only one of '--license', '--modelfile', '--parameters', '--system', or '--template' can be specified"
        )

    from puna.runtime import TextModel
    from puna.store import Store
    from puna.store.recipe import modelfile_of, parameter_lines

    local = Store().resolve(model)
    if modelfile:
        _print(modelfile_of(local).rstrip("\n"))
    elif system:
        _print(local.system or "")
    elif parameters:
        _print("\n".join(parameter_lines(local.parameters or {})))
    elif license:
        _print("\n".join(local.licenses))
    elif template:
        _print(TextModel.open(local).template_source)
    else:
        _print("\n\n".join(sections(TextModel.open(local), verbose=verbose)))


def _print(text: str) -> None:
    """What a model says of itself must not drive the terminal; a pipe gets it as it is."""
    typer.echo(terminal_safe(text) if sys.stdout.isatty() else text)


def sections(model: TextModel, *, verbose: bool = False) -> list[str]:
    """`  Title` and under it lines of name and value, as Ollama's `show`."""
    from puna.store.recipe import parameter_lines

    local = model.local
    parts = {
        "Model": _facts(model),
        "Capabilities": local.details.capabilities,
        "Projector": [line for path in local.projectors for line in _projector_facts(path)],
        "Parameters": parameter_lines(local.parameters or {}),
        "System": (local.system or "").splitlines(),
        "License": [line for text in local.licenses for line in text.splitlines()[:2]],
        "Warnings": model.warnings,
    }
    shown = [_section(title, lines) for title, lines in parts.items() if lines]
    return shown + (_file_sections(local.path) if verbose else [])


def _facts(model: TextModel) -> list[str]:
    config, local = model.config, model.local
    return _columns(
        {
            "architecture": config.architecture,
            "parameters": local.details.parameter_size,
            "context length": config.context_length,
            "embedding length": config.embedding_length,
            "quantization": config.file_type,
            "requires": local.config.requires if local.config else "",
            "size": human_size(local.size),
            "file": local.path,
            "draft model": local.draft,
            "adapter": " ".join(map(str, local.adapters)),
            "template": template_in_force(model),
        }
    )


def template_in_force(model: TextModel) -> str:
    """Where the template comes from that the model's prompts follow."""
    from puna.runtime.text import PLAIN_TEMPLATE

    if model.has_go_template:
        return GO_TEMPLATE
    return NO_TEMPLATE if model.template_source == PLAIN_TEMPLATE else JINJA_TEMPLATE


def _projector_facts(path: Path) -> list[str]:
    from puna.store.describe import metadata_of
    from puna.store.store import human_count

    metadata = metadata_of(path)
    architecture = metadata.get("general.architecture")
    count = metadata["general.parameter_count"]
    known = [
        metadata.get(f"{architecture}.{sense}.{key}")
        for key in ("embedding_length", "projection_dim")
        for sense in ("vision", "audio")
    ]
    return _columns(
        {
            "architecture": architecture,
            "parameters": human_count(count) if isinstance(count, int) else count,
            "embedding length": known[0] or known[1],
            "dimensions": known[2] or known[3],
            "file": path,
        }
    )


def _columns(facts: dict[str, object]) -> list[str]:
    return [f"{name:<20}{value}" for name, value in facts.items() if value]


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"  {title}", *(f"    {line}" for line in lines)])


def _file_sections(path: Path) -> list[str]:
    """All metadata (long values shortened, with their lengths) and tensors of the model file."""
    from puna.gguf import open_model

    file = open_model(path)
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
