"""`puna index`, `puna search` and `puna ask`: documents of one's own. No server is needed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from puna.cli.output import human_age, table, terminal_safe
from puna.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from puna.rag import Collection, Collections, Hit, Indexed, Mode
    from puna.rag.sources import Found
    from puna.runtime import Runtime

SHOWN = 20  # names in a note

Name = Annotated[str, typer.Argument(help="The collection.")]
Limit = Annotated[int, typer.Option(min=1, max=50, help="Passages at most.")]
Way = Annotated[
    str, typer.Option("--mode", metavar="hybrid|vector|text", help="Search by meaning (vector), by words (text), both.")
]


def index(
    name: Annotated[
        str | None, typer.Argument(help="The collection, made where there is none; nothing: a list.")
    ] = None,
    paths: Annotated[list[Path] | None, typer.Argument(help="Files and folders.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The embedding model of a new collection, which it then belongs to.")
    ] = None,
    chunk_tokens: Annotated[int | None, typer.Option(min=16, help="Tokens of a passage at most.")] = None,
    overlap_tokens: Annotated[
        int | None, typer.Option(min=0, help="Tokens that a passage repeats of the one before.")
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the collection.")] = False,
) -> None:
    """Make documents searchable: Markdown, HTML, PDF, code and plain text.

    Run again, it reads only what has changed, and removes what is gone from below the paths. What is done stays done
    when it is interrupted: the same command goes on from there.
    """
    from puna import paths as places
    from puna.rag import Collections

    collections = Collections(places.collections_place())
    if name is None:
        typer.echo(_listing(collections))
    elif delete:
        if paths:
            raise InvalidRequest(
                "--delete takes the collection alone (indexing a folder again removes what is gone from it)"
            )
        collections.delete(collections.find(name))
        typer.echo(f"deleted the collection {name!r}", err=True)
    else:
        if not paths:
            raise typer.BadParameter("give the files or folders to index", param_hint="PATHS")
        from puna.rag import find_files

        _index(collections, name, find_files(paths), model, (chunk_tokens, overlap_tokens))


def _index(
    collections: Collections, name: str, found: Found, model: str | None, lengths: tuple[int | None, int | None]
) -> None:
    from puna.cli.progress import Progress
    from puna.errors import CollectionNotFound
    from puna.rag import index_files
    from puna.runtime import Runtime
    from puna.runtime.documents import MODEL_IN_THE_BOX, RuntimeEmbedder, default_model

    try:
        info = collections.find(name)
    except CollectionNotFound:
        info = None
    progress = Progress("indexing")
    with progress, Runtime(on_progress=progress.update) as runtime:
        chosen = model or (info.pin.model if info else default_model(runtime.store))
        if info is None and model is None and chosen == MODEL_IN_THE_BOX:
            typer.echo(f"{chosen} makes the vectors; `puna pull all-minilm` brings a model that knows words", err=True)
        embedder = RuntimeEmbedder(runtime, chosen)
        cut = embedder.cut(*lengths)
        if info is None:
            info = collections.create(name, embedder.pin)
        info.pin.check(embedder.pin, name)
        collection = collections.open(collections.use(info))
        done = index_files(collection, found, embedder, cut, progress.update)
    for line in _account(done, found):
        typer.echo(line, err=True)
    typer.echo(f"{name}: {len(collection.documents())} documents, {collection.count()} passages")


def _account(done: Indexed, found: Found) -> Sequence[str]:
    """What was done, and all that was not."""
    counts = {"added": done.added, "changed": done.changed, "removed": done.removed, "unchanged": done.unchanged}
    lines = [", ".join(f"{len(names)} {what}" for what, names in counts.items() if names) or "nothing to index"]
    lines += [f"not indexed: {name} {why}" for name, why in done.failed[:SHOWN]]
    if len(done.failed) > SHOWN:
        lines.append(f"not indexed: {len(done.failed) - SHOWN} more")
    if found.left_out:
        most_first = sorted(found.left_out.items(), key=lambda each: -each[1])
        kinds = ", ".join(f"{count} {kind}" for kind, count in most_first)
        lines.append(f"left out, of kinds that are not read: {kinds}")
    return lines


def _listing(collections: Collections) -> str:
    now = datetime.now(UTC)
    rows = []
    for info in collections.list():
        documents = "expired" if info.expired else str(len(collections.open(info).documents()))
        created = human_age(datetime.fromtimestamp(info.created, UTC), now)
        rows.append([info.name or info.id, documents, info.pin.model, created])
    return table(["NAME", "DOCUMENTS", "MODEL", "CREATED"], rows)


def search(
    name: Name,
    text: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Limit = 5,
    mode: Way = "hybrid",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object for each passage.")] = False,
) -> None:
    """Search a collection; the best passages first, each with where it is from and its score (0 to 1)."""
    from puna.runtime import Runtime

    with Runtime() as runtime:
        hits, names = _find(runtime, name, text, limit, mode)
    if not hits:
        typer.echo("nothing found", err=True)
        raise typer.Exit(1)
    for number, hit in enumerate(hits, 1):
        if as_json:
            typer.echo(json.dumps(_object(hit, names[hit.document]), ensure_ascii=False))
        else:
            typer.echo(_line(number, hit, names[hit.document]) + f"  {hit.score:.2f}")
            typer.echo("    " + terminal_safe(hit.passage.text).replace("\n", "\n    ") + "\n")


def ask(
    name: Name,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    model: Annotated[str, typer.Option(help="The model that answers.")] = "cria",
    limit: Limit = 5,
    mode: Way = "hybrid",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="End the answer after this many tokens.")] = None,
) -> None:
    """Answer a question from a collection's passages, with numbered sources below the answer."""
    from puna.chat import Message
    from puna.cli.session import Session
    from puna.runtime import ChatRequest, Options
    from puna.runtime.documents import with_sources

    options = Options(max_tokens=max_tokens)
    with Session(model, options=options) as session:
        hits, names = _find(session.runtime, name, question, limit, mode)
        if not hits:
            typer.echo("nothing found", err=True)
            raise typer.Exit(1)
        request = ChatRequest(model, (Message("user", question),), options)
        _, quoted = with_sources(session.runtime, request, hits, lambda document: names[document])
        answered = session.ask(quoted.text)
    typer.echo()
    for number, hit in enumerate(quoted.sources, 1):
        typer.echo(_line(number, hit, names[hit.document]))
    if quoted.left_out:
        typer.echo(f"({quoted.left_out} more passages did not fit the context of {model})", err=True)
    if not answered:
        raise typer.Exit(130)


def _find(runtime: Runtime, name: str, text: str, limit: int, mode: str) -> tuple[list[Hit], dict[str, str]]:
    """The best passages, and the names of their documents. Raises CollectionNotFound, InvalidRequest."""
    from puna import paths
    from puna.conversation import check_text
    from puna.rag import Collections
    from puna.runtime.documents import RuntimeEmbedder

    check_text(text, "the text")
    collections = Collections(paths.collections_place())
    info = collections.find(name)
    collection = collections.open(collections.use(info))
    vector = None
    if mode != "text":
        embedder = RuntimeEmbedder(runtime, info.pin.model)
        info.pin.check(embedder.pin, name)
        [vector] = embedder.embed([text])
    hits = collection.search(text, vector, limit=limit, mode=_mode(mode))
    return hits, _names(collection, hits)


def _mode(text: str) -> Mode:
    from puna.rag.collection import MODES

    for mode in MODES:
        if mode == text:
            return mode
    raise InvalidRequest(f"--mode must be one of {', '.join(MODES)}, not {text!r}")


def _names(collection: Collection, hits: Sequence[Hit]) -> dict[str, str]:
    return {document.id: document.name for document in collection.documents(sorted({hit.document for hit in hits}))}


def _line(number: int, hit: Hit, name: str) -> str:
    from puna.rag.quoting import describe

    return terminal_safe(f"[{number}] {describe(hit, name)}")


def _object(hit: Hit, name: str) -> dict[str, object]:
    passage = hit.passage
    return {
        "document": name,
        "heading": passage.heading,
        "place": passage.place,
        "score": round(hit.score, 6),
        "text": passage.text,
    }
